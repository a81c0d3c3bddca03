"""What the kernel for a GPU spec is called: a name for programs and URLs, a display name for people.

Jupyter allows letters, digits, dots, dashes and underscores in a kernelspec's name, and compares without regard to
case. A name has to give its spec back, since that is all that a client of the kernel API says: ``POST /api/kernels
{"name": "perijove-h100"}``. The rule:

====================  =====================
spec                  name
====================  =====================
any                   perijove
H100                  perijove-h100
H100:2                perijove-h100x2
H100|A100             perijove-h100-a100
A100-80GB             perijove-a100-80gb
RTX-PRO-6000          perijove-rtx_pro-6000
A100|40GB             perijove-a100x1-40gb
====================  =====================

A dash comes before the next alternative; a part that begins with a digit belongs to the model before it, for models
begin with a letter. Other dashes of a model are underscores. ``x1`` is written where a name would mean something else
without it.
"""

from __future__ import annotations

import re

from .errors import InvalidGpuSpec
from .gpu_spec import MAX_COUNT, Choice, GpuSpec

ANY_GPU = "perijove"
LONGEST_NAME = 100
LEGAL_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}\Z")
_COUNTED = re.compile(r"(.+)x(\d{1,3})\Z", re.ASCII)


def kernelspec_name(spec: GpuSpec) -> str:
    """The name of the kernelspec for a GPU spec.

    >>> kernelspec_name(GpuSpec((Choice(model="H100"), Choice(model="A100", count=2))))
    'perijove-h100-a100x2'

    Raises:
        InvalidGpuSpec: when the name would be longer than a kernel's name may be.
    """
    if str(spec) == "any":
        return ANY_GPU
    parts = [_part(choice) for choice in spec.choices] or ["cpu"]
    for index, choice in enumerate(spec.choices[1:]):
        if choice.min_memory_gib is not None and not _is_counted(parts[index]):
            parts[index] += "x1"  # else the memory would belong to the model before it
    name = "-".join([ANY_GPU, *parts])
    if len(name) > LONGEST_NAME:
        raise InvalidGpuSpec(
            f"the GPU spec {str(spec)!r} is too long for the name of a kernel; name fewer alternatives"
        )
    return name


def spec_in_name(name: str) -> str:
    """The GPU spec in a kernelspec's name, to be read by ``parse_gpu_spec``; ``any`` for a name that is not ours.

    >>> spec_in_name("perijove-h100x2"), spec_in_name("perijove-a100-80gb"), spec_in_name("python3")
    ('H100:2', 'A100-80GB', 'any')
    """
    prefix, _, rest = name.lower().partition("-")
    if prefix != ANY_GPU or not rest:
        return "any"
    alternatives: list[str] = []
    for part in rest.split("-"):
        if alternatives and part[:1].isdigit() and not _is_counted(alternatives[-1]):
            alternatives[-1] += f"-{part}"
        else:
            alternatives.append(part)
    return "|".join(map(_spelled, alternatives))


def display_name(spec: GpuSpec) -> str:
    """What pickers show: ``GPU · H100|A100``."""
    return f"GPU · {spec}"


def _part(choice: Choice) -> str:
    text = _dashes_kept((choice.model or f"{choice.min_memory_gib or 'any'}").lower())
    if choice.min_memory_gib is not None:
        text += "gb"
    return f"{text}x{choice.count}" if choice.count > 1 or _is_counted(text) else text


def _dashes_kept(model: str) -> str:
    """The model with only those dashes that its name keeps."""
    text, *rest = model.split("-")
    for part in rest:
        text += ("-" if part[:1].isdigit() and not _is_counted(text) else "_") + part
    return text


def _is_counted(part: str) -> bool:
    """Whether a part ends in a count."""
    counted = _COUNTED.match(part)
    return counted is not None and 1 <= int(counted[2]) <= MAX_COUNT


def _spelled(alternative: str) -> str:
    count = ""
    if _is_counted(alternative):
        alternative, _, digits = alternative.rpartition("x")
        count = "" if int(digits) == 1 else f":{int(digits)}"
    name = alternative.replace("_", "-")
    return (name if name in ("any", "cpu") else name.upper()) + count
