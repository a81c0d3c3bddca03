"""Our telemetry beside ``nvidia-smi --query-gpu`` on a real device: at rest, computing, and with 10 GB allocated.

``python -m benchmarks.beside_nvidia_smi [PHASE…]`` prints the table as Markdown. Both are asked in turn a few times in
each phase, and the medians compared. The load runs in a process of its own, so nothing of it is left between phases.
"""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from perijove.remote_agent.gpus.nvidia import Nvidia
from perijove.wire.models import Gpu
from perijove.wire.usage import GpuSample

ROUNDS = 5
BETWEEN_ROUNDS_S = 0.2
SETTLES_AFTER_S = 1.0  # the driver's own sampling period is up to a second
LOAD_ENDS_WITHIN_S = 60.0
ALLOCATION_BYTES = 10_000_000_000
MIB = 1 << 20

# A square product, again and again; a line says that it has begun.
PRODUCT = """
import sys, threading, torch
a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
b = a @ a
torch.cuda.synchronize()
done = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
print("ready", flush=True)
while not done.is_set():
    for _ in range(20):
        torch.matmul(a, a, out=b)
    torch.cuda.synchronize()
"""
# By the driver's own interface, which is there wherever there is a device.
ALLOCATION = f"""
import ctypes, sys
cuda = ctypes.CDLL("libcuda.so.1")
def do(status): assert status == 0, f"the driver answers {{status}}"
context, memory, device = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_int()
do(cuda.cuInit(0))
do(cuda.cuDeviceGet(ctypes.byref(device), 0))
do(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
do(cuda.cuCtxSetCurrent(context))
do(cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t({ALLOCATION_BYTES})))
print("ready", flush=True)
sys.stdin.read()
"""
PHASES: dict[str, str | None] = {"at rest": None, "a matrix product": PRODUCT, "10 GB allocated": ALLOCATION}


@dataclass(frozen=True, slots=True)
class Quantity:
    """What is compared: ``nvidia-smi``'s field, ours in the same unit, and how far apart they may be."""

    name: str
    field: str
    ours: str
    divisor: float
    apart: float  # in the unit
    apart_share: float = 0.0  # of the larger one

    def agrees(self, ours: float | None, theirs: float | None) -> bool:
        if ours is None or theirs is None:
            return ours is theirs
        return abs(ours - theirs) <= max(self.apart, self.apart_share * max(ours, theirs))


# They are read a few milliseconds apart, so what changes quickly may differ.
QUANTITIES = (
    Quantity("utilisation, %", "utilization.gpu", "utilization_percent", 1, 15),
    Quantity("memory in use, MiB", "memory.used", "memory_used_bytes", MIB, 64),
    Quantity("memory, MiB", "memory.total", "memory_total_bytes", MIB, 1),
    Quantity("power, W", "power.draw", "power_milliwatts", 1000, 15, 0.1),
    Quantity("power limit, W", "enforced.power.limit", "power_limit_milliwatts", 1000, 0.5),
    Quantity("temperature, °C", "temperature.gpu", "temperature_celsius", 1, 2),
    Quantity("SM clock, MHz", "clocks.sm", "sm_clock_mhz", 1, 60, 0.05),
    Quantity("memory clock, MHz", "clocks.mem", "memory_clock_mhz", 1, 60, 0.05),
    Quantity("uncorrected ECC", "ecc.errors.uncorrected.volatile.total", "uncorrected_ecc_errors", 1, 0),
    Quantity("corrected ECC", "ecc.errors.corrected.volatile.total", "corrected_ecc_errors", 1, 0),
)


@dataclass(frozen=True, slots=True)
class Comparison:
    phase: str
    quantity: Quantity
    ours: float | None
    theirs: float | None

    @property
    def agrees(self) -> bool:
        return self.quantity.agrees(self.ours, self.theirs)


class NothingToCompare(Exception):
    """There is no device here, or not what a phase needs."""


def device() -> tuple[Nvidia, Gpu]:
    """
    Raises:
        NothingToCompare: where there is no whole GPU, or no nvidia-smi.
    """
    if shutil.which("nvidia-smi") is None:
        raise NothingToCompare("there is no nvidia-smi here")
    driver = Nvidia()
    whole = [gpu for gpu in driver.gpus() if not gpu.part_of]
    if not whole:
        driver.close()
        raise NothingToCompare("there is no NVIDIA GPU here, or only MIG instances, of which nvidia-smi says little")
    return driver, whole[0]


def compare(phase: str, driver: Nvidia, gpu: Gpu) -> list[Comparison]:
    """
    Raises:
        NothingToCompare: when the phase's load cannot be run here.
    """
    ours: list[GpuSample] = []
    theirs: list[dict[str, float | None]] = []
    with _load(PHASES[phase], gpu):
        time.sleep(SETTLES_AFTER_S)
        for _ in range(ROUNDS):
            ours.append(driver.sample(gpu.uuid))
            theirs.append(ask_nvidia_smi(gpu.uuid))
            time.sleep(BETWEEN_ROUNDS_S)
    return [
        Comparison(
            phase,
            quantity,
            _median([_in_unit(getattr(sample, quantity.ours), quantity.divisor) for sample in ours]),
            _median([answer[quantity.field] for answer in theirs]),
        )
        for quantity in QUANTITIES
    ]


def ask_nvidia_smi(uuid: str) -> dict[str, float | None]:
    fields = [quantity.field for quantity in QUANTITIES]
    command = ["nvidia-smi", f"--id={uuid}", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    (values,) = csv.reader(answer.splitlines(), skipinitialspace=True)
    return dict(zip(fields, map(_number, values), strict=True))


def as_markdown(comparisons: Sequence[Comparison]) -> str:
    lines = ["| phase | quantity | Perijove | nvidia-smi | |", "|---|---|---|---|---|"]
    for found in comparisons:
        verdict = "" if found.agrees else "**differs**"
        shown = (found.phase, found.quantity.name, _shown(found.ours), _shown(found.theirs), verdict)
        lines.append(f"| {' | '.join(shown)} |")
    return "\n".join(lines)


@contextlib.contextmanager
def _load(program: str | None, gpu: Gpu) -> Iterator[None]:
    if program is None:
        yield
        return
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": gpu.uuid},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if process.stdout.readline().strip() != "ready":
                raise NothingToCompare(
                    "its load did not start (a matrix product needs PyTorch for CUDA); see the error above"
                )
            yield
        finally:
            process.stdin.close()
            process.wait(LOAD_ENDS_WITHIN_S)


def _in_unit(value: float | None, divisor: float) -> float | None:
    return None if value is None else value / divisor


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _number(text: str) -> float | None:
    """None for what nvidia-smi cannot say: ``[N/A]``, ``[Not Supported]``."""
    try:
        return float(text)
    except ValueError:
        return None


def _shown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f}".removesuffix(".0")


def main(phases: Sequence[str]) -> int:
    try:
        driver, gpu = device()
    except NothingToCompare as nothing:
        print(nothing, file=sys.stderr)
        return 1
    found: list[Comparison] = []
    try:
        for phase in phases or PHASES:
            try:
                found += compare(phase, driver, gpu)
            except NothingToCompare as nothing:
                print(f"{phase}: left out, as {nothing}", file=sys.stderr)
    finally:
        driver.close()
    print(f"{gpu.name}\n\n{as_markdown(found)}")
    return 0 if all(comparison.agrees for comparison in found) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
