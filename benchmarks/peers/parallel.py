"""ipyparallel with one engine: what sending an array to another IPython process costs with what there was before."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..measure import timed


class Engine:
    """Blocking push and pull, as its documentation does it."""

    def __init__(self, view: Any) -> None:
        self._view = view

    def push(self, array: np.ndarray[Any, Any]) -> float:
        return timed(lambda: self._view.push({"array": array}, block=True))

    def pull(self) -> float:
        return timed(lambda: self._view.pull("array", block=True))

    def clear(self) -> None:
        self._view.push({"array": None}, block=True)


@contextmanager
def engine(directory: Path) -> Iterator[Engine]:
    """A controller and one engine on loopback, with a profile of their own, stopped at the end."""
    os.environ["IPYTHONDIR"] = str(directory / "ipython")
    import ipyparallel  # reads IPYTHONDIR

    cluster = ipyparallel.Cluster(
        n=1, controller_ip="127.0.0.1", log_level=logging.ERROR, cluster_id="bench", profile_dir=str(directory / "ipp")
    )
    client = cluster.start_and_connect_sync(activate=False)
    try:
        view = client[0]
        view.apply_sync(_nothing)
        yield Engine(view)
    finally:
        client.close()
        cluster.stop_cluster_sync()


def _nothing() -> None:
    """Warms the engine up."""
