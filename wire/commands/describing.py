"""A kernel's GPUs in words, and what becomes of them."""

from __future__ import annotations

from ..models import KernelView


def release_text(view: KernelView, *, at_home: str = "; `%gpu get` brings them home") -> str:
    """When the GPU goes back, and whether the variables stay."""
    kept = "variables kept" if view.keeps_state else f"variables lost then{at_home}"
    return f"released {view.idle_timeout_s:g} s after the last cell, {kept}"


def describe_gpus(view: KernelView) -> str:
    """``H100``, ``2 × H100``, ``H100 (simulated)``."""
    if view.gpus is None:
        return view.gpu_spec
    count = f"{view.gpus.count} × " if view.gpus.count > 1 else ""
    return f"{count}{view.gpus.model}{' (simulated)' if view.gpus.simulated else ''}"
