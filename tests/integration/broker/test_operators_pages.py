"""The dashboard and the page for operators speak of exactly the metrics that a broker has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from perijove.broker.ledger.audit import Action, Via
from prometheus_client.parser import text_string_to_metric_families

from .conftest import RunningBroker

DOCS = Path(__file__).parents[3] / "docs"
_OF_A_HISTOGRAM = ("_bucket", "_count", "_sum")


async def families(broker: RunningBroker) -> dict[str, str]:
    """Each metric's name as it is queried, and its type."""
    response: httpx.Response = await broker.as_("root").get("/metrics")
    suffix = {"counter": "_total"}
    found = {}
    for family in text_string_to_metric_families(response.text):
        found[family.name + suffix.get(family.type, "")] = family.type
    return found


def expressions(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "expr" in node:
            yield node["expr"]
        for value in node.values():
            yield from expressions(value)
    elif isinstance(node, list):
        for value in node:
            yield from expressions(value)


def names_in(text: str, known: dict[str, str]) -> set[str]:
    names = set()
    for name in re.findall(r"\bperijove_[a-z_]+", text):
        base = next((name.removesuffix(end) for end in _OF_A_HISTOGRAM if name.endswith(end)), name)
        names.add(base if known.get(base) == "histogram" else name)
    return names


async def test_the_dashboard_asks_for_metrics_that_exist(broker: RunningBroker) -> None:
    known = await families(broker)
    dashboard = json.loads((DOCS / "operators" / "grafana.json").read_text("utf-8"))
    asked = set().union(*(names_in(text, known) for text in expressions(dashboard)))
    assert asked == known.keys(), "each metric is on the dashboard, and nothing else"
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))


async def test_the_page_explains_each_metric_once_and_rightly(broker: RunningBroker) -> None:
    known = await families(broker)
    page = (DOCS / "operators.md").read_text("utf-8")
    rows = re.findall(r"^\| `(perijove_[a-z_]+)` \| (\w+) \|", page, re.MULTILINE)
    types = {name: {"info": "gauge"}.get(kind, kind) for name, kind in rows}
    assert len(rows) == len(types)
    assert types == known
    assert names_in(page, known) <= known.keys(), "alerts, too"


def test_the_page_names_each_action_and_way() -> None:
    page = (DOCS / "operators.md").read_text("utf-8")
    for word in [*Action, *Via]:
        assert f"`{word}`" in page
