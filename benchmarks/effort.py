"""How much a run does: enough for steady figures, or a smoke test of the benchmarks themselves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    cold_starts: int
    attaches: int
    attach_warm_up: int
    cells: int
    cells_with_array: int
    array_mb: int
    prints: int
    displays: int
    storms: int  # rounds of each kind
    transfers_mb: tuple[int, ...]
    transfers: int  # of each size; of the largest, fewer
    watched_agents: int
    watched_kernels: int
    watching_pages: int
    watched_s: float
    budget_kernels: int
    budget_s: int  # GPU-seconds for all of them


FULL = Effort(
    cold_starts=5,
    attaches=25,
    attach_warm_up=2,
    cells=200,
    cells_with_array=60,
    array_mb=500,
    prints=50_000,
    displays=5_000,
    storms=2,
    transfers_mb=(1, 100, 1000),
    transfers=5,
    watched_agents=200,
    watched_kernels=400,
    watching_pages=50,
    watched_s=30.0,
    budget_kernels=4,
    budget_s=160,
)
QUICK = Effort(
    cold_starts=2,
    attaches=2,
    attach_warm_up=1,
    cells=20,
    cells_with_array=5,
    array_mb=20,
    prints=1_000,
    displays=100,
    storms=1,
    transfers_mb=(1, 10),
    transfers=1,
    watched_agents=10,
    watched_kernels=20,
    watching_pages=4,
    watched_s=3.0,
    budget_kernels=2,
    budget_s=30,
)
