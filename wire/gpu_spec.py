"""GPU specs: what a user asks for. ``H100``, ``H100:2``, ``H100|A100``, ``40GB``, ``any``, ``cpu``.

A MIG instance (a part of a GPU that NVIDIA's driver has cut off) is a GPU of a model of its own, ``H100-1g.10gb``. Who
asks for an ``H100`` gets a whole one; who asks by memory, or for any, may get an instance.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import InvalidGpuSpec

_MODEL = re.compile(r"[A-Za-z][A-Za-z0-9-]*\Z")
_INSTANCE = re.compile(r"-((?:\d+C\.)?\d+G\.\d+GB)\Z", re.IGNORECASE)  # -1g.10gb, -1c.3g.40gb
_MEMORY = re.compile(r"(\d+)\s*(?:GB|GiB|G)\Z", re.IGNORECASE)
_HOW = "write a GPU spec like H100, H100:2, H100|A100, 40GB, any or cpu"
MAX_COUNT = 64
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Choice:
    """One alternative of a GPU spec. Exactly one of ``model``, ``min_memory_gib`` is set; neither means any GPU."""

    model: str | None = None
    min_memory_gib: int | None = None
    count: int = 1

    def accepts(self, model: str, memory_bytes: int) -> bool:
        """Whether a GPU of this model and memory (bytes) will do.

        Marketing gigabytes are decimal and drivers report a little less than the label: a "40GB" card has 39.4 GiB.
        So a memory wish is met from 93 % of that many GiB. Several GPUs are never several MIG instances: CUDA shows a
        process only one of them.
        """
        if self.count > 1 and is_mig_instance(model):
            return False
        if self.model is not None:
            return model_matches(self.model, model)
        if self.min_memory_gib is not None:
            return memory_bytes >= self.min_memory_gib * GIB * 93 // 100
        return True

    def __str__(self) -> str:
        name = self.model or (f"{self.min_memory_gib}GB" if self.min_memory_gib else "any")
        return name if self.count == 1 else f"{name}:{self.count}"


@dataclass(frozen=True, slots=True)
class GpuSpec:
    """A parsed GPU spec: alternatives in the user's order, or none at all for ``cpu``."""

    choices: tuple[Choice, ...]

    @property
    def is_cpu(self) -> bool:
        return not self.choices

    def __str__(self) -> str:
        return "|".join(map(str, self.choices)) or "cpu"


def parse_gpu_spec(text: str) -> GpuSpec:
    """Read a GPU spec; models compare without regard to case.

    Raises:
        InvalidGpuSpec: saying which part cannot be read, and how to write it.
    """
    text = text.strip()
    if not text:
        raise InvalidGpuSpec(f"the GPU spec is empty; {_HOW}")
    if text.lower() == "cpu":
        return GpuSpec(())
    return GpuSpec(tuple(_parse_choice(part.strip(), text) for part in text.split("|")))


def _parse_choice(part: str, whole: str) -> Choice:
    name, colon, count_text = part.partition(":")
    name = name.strip()
    count = 1
    if colon:
        if not count_text.strip().isdecimal() or not 1 <= int(count_text) <= MAX_COUNT:
            raise InvalidGpuSpec(f"{count_text!r} in the GPU spec {whole!r} is no count from 1 to {MAX_COUNT}; {_HOW}")
        count = int(count_text)
    if memory := _MEMORY.match(name):
        if int(memory[1]) == 0:
            raise InvalidGpuSpec(f"{name!r} in the GPU spec {whole!r} asks for no memory; {_HOW}")
        return Choice(min_memory_gib=int(memory[1]), count=count)
    if name.lower() == "any":
        return Choice(count=count)
    if name.lower() == "cpu":
        raise InvalidGpuSpec(f"'cpu' stands alone, so the GPU spec {whole!r} cannot be read; {_HOW}")
    if not _MODEL.match(_INSTANCE.sub("", name)):
        raise InvalidGpuSpec(f"{part!r} in the GPU spec {whole!r} cannot be read; {_HOW}")
    if count > 1 and is_mig_instance(name):
        raise InvalidGpuSpec(
            f"{part!r} in the GPU spec {whole!r} asks for {count} MIG instances, and CUDA shows a process only one; "
            "ask for a larger instance or for whole GPUs"
        )
    return Choice(model=_spelled(name), count=count)


def model_matches(wanted: str, model: str) -> bool:
    """``A100`` takes an ``A100-80GB`` as well as an ``A100-40GB``; ``A100-80GB`` takes only that.

    A MIG instance is only taken by its name: ``A100-3g.20gb`` takes an ``A100-40GB-3g.20gb``, and ``A100`` does not.
    """
    (wanted, wanted_part), (model, part) = _parts(wanted), _parts(model)
    return wanted_part == part and (model == wanted or model.startswith(wanted + "-"))


def is_mig_instance(model: str) -> bool:
    """Whether a model's name is that of a part of a GPU."""
    return _INSTANCE.search(model) is not None


def _parts(model: str) -> tuple[str, str]:
    """The whole GPU's model, and which part of it (empty: all)."""
    found = _INSTANCE.search(model)
    return (model.upper(), "") if found is None else (model[: found.start()].upper(), found[1].lower())


def _spelled(model: str) -> str:
    whole, part = _parts(model)
    return f"{whole}-{part}" if part else whole


_MARKETING = re.compile(r"\b(?:NVIDIA|TESLA|GEFORCE|QUADRO)\b", re.IGNORECASE)
_FORM_FACTOR = re.compile(r"\b(?:PCIE|SXM\d?|HBM\d\w*|NVL|OAM|GENERATION|LAPTOP|GPU)\b", re.IGNORECASE)


def model_from_device_name(name: str, memory_bytes: int) -> str:
    """The short model for a driver's device name: ``NVIDIA H100 80GB HBM3`` is ``H100``.

    The A100 comes in two memory sizes at two prices, so its size stays: ``A100-40GB``, ``A100-80GB``.

    >>> model_from_device_name("NVIDIA A100-SXM4-40GB", 40 * GIB), model_from_device_name("Tesla T4", 15 * GIB)
    ('A100-40GB', 'T4')
    """
    text = _MARKETING.sub(" ", name.replace("-", " "))
    text = _FORM_FACTOR.sub(" ", text)
    text = re.sub(r"\b\d+\s*GB\b", " ", text, flags=re.IGNORECASE)
    model = "-".join(text.upper().split()) or "GPU"
    if model == "A100":
        return "A100-40GB" if memory_bytes < 60 * GIB else "A100-80GB"
    return model


_MIG_NAME = re.compile(r"\bMIG ((?:\d+c\.)?\d+g\.\d+gb)", re.IGNORECASE)


def mig_model(whole: str, instance_name: str, slices: int, memory_bytes: int) -> str:
    """The short model of a MIG instance of the model ``whole``, from the driver's name for it.

    Older drivers call it as they call the GPU; then it is the compute slices and the memory (bytes). Instances that
    also have the media engines (``1g.10gb+me``) are not told apart.

    >>> mig_model("H100", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", 1, 9856 << 20)
    'H100-1g.10gb'
    >>> mig_model("A100-40GB", "NVIDIA A100-SXM4-40GB", 3, 19968 << 20)
    'A100-40GB-3g.20gb'
    """
    named = _MIG_NAME.search(instance_name)
    part = named[1].lower() if named else f"{slices}g.{-(-memory_bytes // GIB)}gb"
    return f"{whole}-{part}"
