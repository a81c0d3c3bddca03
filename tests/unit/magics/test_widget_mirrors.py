"""Remote widgets in the local ipywidgets' table: what it tells a front-end that asks, and what a notebook saves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ipywidgets
import pytest
from ipywidgets.widgets import widget
from perijove.magics.messages import Message
from perijove.magics.widget_mirrors import WidgetMirrors

SLIDER = {
    "_model_name": "IntSliderModel",
    "_model_module": "@jupyter-widgets/controls",
    "_model_module_version": "2.0.0",
    "value": 3,
}


def opened(
    comm_id: str, state: dict[str, Any], paths: Any = (), buffers: Any = (), target: str = "jupyter.widget"
) -> Any:
    data = {"state": state, "buffer_paths": list(paths)}
    content = {"comm_id": comm_id, "target_name": target, "data": data}
    return Message("iopub", {"msg_type": "comm_open"}, {}, {}, content, tuple(buffers))


@pytest.fixture
def mirrors() -> Iterator[WidgetMirrors]:
    before = dict(widget._instances)
    yield WidgetMirrors()
    widget._instances.clear()
    widget._instances.update(before)


def test_the_table_of_widgets_knows_the_remote_ones(mirrors: WidgetMirrors) -> None:
    mirrors.opened("w1", opened("w1", SLIDER))
    mirrors.updated("w1", {"method": "update", "state": {"value": 7}}, ())
    state = ipywidgets.Widget.get_manager_state()["state"]["w1"]
    assert state["model_name"] == "IntSliderModel"
    assert state["model_module"] == "@jupyter-widgets/controls"
    assert state["state"]["value"] == 7


def test_only_updates_change_the_state(mirrors: WidgetMirrors) -> None:
    mirrors.opened("w1", opened("w1", SLIDER))
    mirrors.updated("w1", {"method": "custom", "content": {"state": {"value": 9}}}, ())
    mirrors.updated("unknown", {"method": "update", "state": {"value": 9}}, ())
    assert widget._instances["w1"].get_state()["value"] == 3


def test_binary_values_are_kept_where_their_paths_say(mirrors: WidgetMirrors) -> None:
    message = opened("w1", {"points": {"rows": [None, 1]}}, [["points", "rows", 0], ["image"]], [b"abc", b"png"])
    mirrors.opened("w1", message)
    assert widget._instances["w1"].get_state() == {"points": {"rows": [b"abc", 1]}, "image": b"png"}
    assert message.content["data"]["state"] == {"points": {"rows": [None, 1]}}  # it is forwarded as it came
    saved = ipywidgets.Widget.get_manager_state()["state"]["w1"]
    assert {buffer["data"] for buffer in saved["buffers"]} == {"YWJj", "cG5n"}


def test_closed_widgets_and_other_comms_leave_no_entry(mirrors: WidgetMirrors) -> None:
    mirrors.opened("w1", opened("w1", SLIDER))
    mirrors.opened("c1", opened("c1", {}, target="some.target"))
    mirrors.closed("w1")
    mirrors.closed("c1")
    assert not {"w1", "c1"} & set(widget._instances)


def test_closing_all_local_widgets_spares_the_remote_ones(mirrors: WidgetMirrors) -> None:
    mirrors.opened("w1", opened("w1", SLIDER))
    widget._instances["w1"].close()
    assert "w1" in widget._instances
