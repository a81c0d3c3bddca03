"""``python -m benchmarks [--quick] [--only NAME] [--json FILE]``"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from . import arrays, attach, budget, cell, doors, drawing, output, panel, round_trip, storms, watching
from .effort import FULL, QUICK, Effort
from .figures import Figure, NotHere, as_table
from .home import Home, home

TABLE_WIDTH = 128
SUBJECTS: dict[str, Callable[[Effort, Home], Iterator[Figure]]] = {
    attach.SUBJECT: attach.measure,
    cell.SUBJECT: cell.measure,
    output.SUBJECT: output.measure,
    arrays.SUBJECT: arrays.measure,
    round_trip.SUBJECT: round_trip.measure,
    storms.SUBJECT: storms.measure,
    doors.SUBJECT: doors.measure,
    panel.SUBJECT: panel.measure,
    drawing.SUBJECT: drawing.measure,
    watching.SUBJECT: watching.measure,
    budget.SUBJECT: budget.measure,
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of every ``finally``: nothing is left running
    console = Console(highlight=False)
    console.width = max(console.width, TABLE_WIDTH)
    notes = Console(highlight=False, stderr=True)
    effort = QUICK if options.quick else FULL
    figures: list[Figure] = []
    failures = 0
    started = time.monotonic()
    load = os.getloadavg()[0]
    with home() as here:
        for name in options.only or SUBJECTS:
            notes.print(f"measuring {name}…", style="dim")
            try:
                figures.extend(SUBJECTS[name](effort, here))
            except NotHere as error:
                notes.print(f"{name} is left out: {error}", markup=False)
            except Exception as error:  # one subject must not take the others' figures with it
                failures += 1
                notes.print(f"{name}: {type(error).__name__}: {error}", style="red", markup=False)
    about = _about(load, time.monotonic() - started, options.quick)
    console.print(as_table(figures, _title(about)))
    if options.json:
        document = {"about": about, "figures": [figure.document() for figure in figures]}
        options.json.write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Perijove beside its peers, on this machine."
    )
    parser.add_argument("--only", action="append", choices=list(SUBJECTS), help="one subject (may be given again)")
    parser.add_argument("--quick", action="store_true", help="a smoke test; its figures mean little")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file as well")
    return parser


def _about(load: float, took_s: float, quick: bool) -> dict[str, object]:
    """What the figures depend on besides the code."""
    packages = ("perijove", "ipykernel", "ipyparallel", "jupyter_server", "tornado", "websockets", "pyzmq", "numpy")
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "took_s": round(took_s),
        "quick": quick,
        "simulated": True,
        "cores": os.cpu_count(),
        "load_before": round(load, 2),
        "platform": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }


def _title(about: dict[str, object]) -> str:
    quick = " — QUICK RUN, not for comparison" if about["quick"] else ""
    return (
        f"Perijove beside its peers: simulated GPU (no GPU work is measured), {about['cores']} cores, "
        f"load {about['load_before']} before the run, Python {about['python']}, {about['took_s']} s{quick}"
    )


if __name__ == "__main__":
    sys.exit(main())
