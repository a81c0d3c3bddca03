"""The names of kernelspecs: legal, and giving their GPU spec back."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from perijove.wire.errors import InvalidGpuSpec
from perijove.wire.gpu_spec import MAX_COUNT, Choice, GpuSpec, parse_gpu_spec
from perijove.wire.kernelspec_names import LEGAL_NAME, display_name, kernelspec_name, spec_in_name

counts = st.one_of(st.just(1), st.integers(1, MAX_COUNT))
models = st.from_regex(r"\A[A-Z][A-Z0-9X-]{0,8}\Z").filter(lambda model: model not in ("ANY", "CPU"))
choices = st.one_of(
    st.builds(Choice, model=models, count=counts),
    st.builds(Choice, min_memory_gib=st.integers(1, 200), count=counts),
    st.builds(Choice, count=counts),
)
specs = st.builds(GpuSpec, st.lists(choices, min_size=0, max_size=4).map(tuple))


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("any", "perijove"),
        ("any:2", "perijove-anyx2"),
        ("cpu", "perijove-cpu"),
        ("h100", "perijove-h100"),
        ("H100:2", "perijove-h100x2"),
        ("H100|A100", "perijove-h100-a100"),
        ("A100-80GB", "perijove-a100-80gb"),
        ("A100-80GB:8|H100", "perijove-a100-80gbx8-h100"),
        ("A100|80GB", "perijove-a100x1-80gb"),
        ("40GB", "perijove-40gb"),
        ("RTX-4090", "perijove-rtx-4090"),
        ("RTX-PRO-6000", "perijove-rtx_pro-6000"),
        ("H100-1g.10gb|H100", "perijove-h100-1g.10gb-h100"),
    ],
)
def test_names(spec: str, name: str):
    assert kernelspec_name(parse_gpu_spec(spec)) == name
    assert parse_gpu_spec(spec_in_name(name)) == parse_gpu_spec(spec)


@given(specs)
@example(GpuSpec((Choice(model="RTX40"),)))
@example(GpuSpec((Choice(model="AX2-80GB"),)))
@example(GpuSpec((Choice(model="A", count=2), Choice(min_memory_gib=80))))
@example(GpuSpec((Choice(model="A--8-"), Choice(min_memory_gib=8))))
def test_every_name_is_legal_and_gives_its_spec_back(spec: GpuSpec):
    name = kernelspec_name(spec)
    assert LEGAL_NAME.match(name)
    assert name == name.lower()
    assert parse_gpu_spec(spec_in_name(name)) == spec


def test_any_spelling_of_a_name_is_read():
    assert spec_in_name("Perijove-H100") == "H100"


@pytest.mark.parametrize("name", ["python3", "perijove", "perijoveh100", "perijove-"])
def test_a_name_without_a_spec_means_any_gpu(name: str):
    assert spec_in_name(name) == "any"


@pytest.mark.parametrize("name", ["perijove-h100--a100", "perijove-8", "perijove-h.100", "perijove-h100-cpu"])
def test_a_name_that_holds_no_spec_is_refused_as_a_spec(name: str):
    with pytest.raises(InvalidGpuSpec):
        parse_gpu_spec(spec_in_name(name))


def test_a_name_has_a_limit():
    with pytest.raises(InvalidGpuSpec, match="too long"):
        kernelspec_name(parse_gpu_spec("|".join(["H100"] * 21)))


def test_display_names():
    assert display_name(parse_gpu_spec("h100|a100:2")) == "GPU · H100|A100:2"
    assert display_name(parse_gpu_spec("any")) == "GPU · any"
