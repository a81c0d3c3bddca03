"""One kernel of each kind per test process, given back clean to every notebook."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..notebook_kernel import NotebookKernel
from .player import Player


class Players:
    """The two kernels. After a notebook that broke one, the next gets new ones."""

    def __init__(self, environment: dict[str, str], directory: Path) -> None:
        self._environment = environment | {"PERIJOVE_PANEL": "0"}  # an announced difference
        self._directory = directory
        self._stack = contextlib.ExitStack()
        self._pair: tuple[Player, Player] | None = None

    def pair(self) -> tuple[Player, Player]:
        """The player without ``%%gpu``, and the one with it."""
        if self._pair is None:
            plain, gpu = (
                self._stack.enter_context(NotebookKernel(self._environment, self._directory)) for _ in range(2)
            )
            assert gpu.run("%load_ext perijove").ok
            assert gpu.run("%gpu attach H100").ok  # the embedded broker takes its time to start, and says so
            self._pair = Player(plain, self._directory, with_gpu=False), Player(gpu, self._directory, with_gpu=True)
        return self._pair

    def renew(self) -> None:
        self._pair = None
        self._stack.close()


@pytest.fixture(scope="session")
def players(perijove_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Players]:
    both = Players(perijove_env, tmp_path_factory.mktemp("notebooks"))
    yield both
    both.renew()
