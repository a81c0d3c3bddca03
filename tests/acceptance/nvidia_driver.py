"""A driver for real agents in tests: the compiled stand-in for NVIDIA's library, and the world that it tells of."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

STAND_IN = Path(__file__).parents[1] / "integration" / "remote_agent" / "nvml_stand_in.c"


class Driver:
    """``environment`` makes a program find it; the directory is one driver's own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-o", directory / "libnvidia-ml.so.1", STAND_IN],
            check=True,
        )
        self.environment = {
            "LD_LIBRARY_PATH": str(directory),
            "NVML_STAND_IN": str(directory / "state"),
            "NVML_FIGURES": str(directory / "figures"),
            "NVML_EVENTS": str(directory / "events"),
            "PERIJOVE_GPU_LOCKS": str(directory / "locks"),
        }
        (directory / "figures").write_text("412000 700000 9000000000 61 1755 0 0 1024")

    def has(self, devices: str) -> None:
        new = self._directory / "state.new"
        new.write_text(devices)
        os.replace(new, self._directory / "state")

    def unload(self) -> None:
        (self._directory / "state").unlink()

    def report(self, line: str) -> None:
        with (self._directory / "events").open("a") as file:
            file.write(line + "\n")
