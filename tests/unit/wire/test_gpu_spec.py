"""DESIGN §2: what a GPU spec may look like, and what it accepts."""

import doctest

import pytest
from perijove.wire import gpu_spec
from perijove.wire.errors import InvalidGpuSpec
from perijove.wire.gpu_spec import GIB, Choice, model_from_device_name, parse_gpu_spec


def test_the_examples_in_the_docstrings_are_true():
    assert doctest.testmod(gpu_spec).failed == 0


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("H100", [Choice(model="H100")]),
        ("h100:2", [Choice(model="H100", count=2)]),
        ("H100|A100", [Choice(model="H100"), Choice(model="A100")]),
        ("H100:8 | A100-80GB:8", [Choice(model="H100", count=8), Choice(model="A100-80GB", count=8)]),
        ("40GB", [Choice(min_memory_gib=40)]),
        ("80gb:2", [Choice(min_memory_gib=80, count=2)]),
        ("any", [Choice()]),
        ("cpu", []),
        ("h100-1G.10gb | H100", [Choice(model="H100-1g.10gb"), Choice(model="H100")]),
        ("A100-1c.3g.20gb", [Choice(model="A100-1c.3g.20gb")]),
    ],
)
def test_specs(text, choices):
    spec = parse_gpu_spec(text)
    assert list(spec.choices) == choices
    assert parse_gpu_spec(str(spec)) == spec


@pytest.mark.parametrize(
    "text",
    ["", "H100:", "H100:0", "H100:x", "|", "H100|", "cpu|H100", "0GB", "H 100", "H100;A100", ":2", "H100:65", "H100.1"],
)
def test_what_cannot_be_read_is_refused_with_the_ways_to_write_it(text):
    with pytest.raises(InvalidGpuSpec, match="write a GPU spec like H100, H100:2"):
        parse_gpu_spec(text)


def test_a_model_takes_its_variants_but_a_variant_only_itself():
    assert Choice(model="A100").accepts("A100-80GB", 80 * GIB)
    assert not Choice(model="A100-80GB").accepts("A100-40GB", 40 * GIB)
    assert not Choice(model="H100").accepts("H1000", 80 * GIB)


def test_a_40gb_card_reports_a_little_less_and_still_is_one():
    assert Choice(min_memory_gib=40).accepts("A100-40GB", 42_298_834_944)
    assert not Choice(min_memory_gib=40).accepts("L4", 24 * GIB)


@pytest.mark.parametrize(
    ("name", "memory", "model"),
    [
        ("NVIDIA H100 80GB HBM3", 80 * GIB, "H100"),
        ("NVIDIA H100 PCIe", 80 * GIB, "H100"),
        ("NVIDIA H200", 141 * GIB, "H200"),
        ("NVIDIA A100-PCIE-40GB", 40 * GIB, "A100-40GB"),
        ("NVIDIA A100 80GB PCIe", 80 * GIB, "A100-80GB"),
        ("NVIDIA L40S", 46 * GIB, "L40S"),
        ("Tesla T4", 15 * GIB, "T4"),
        ("NVIDIA GeForce RTX 4090", 24 * GIB, "RTX-4090"),
        ("NVIDIA RTX PRO 6000 Blackwell", 96 * GIB, "RTX-PRO-6000-BLACKWELL"),
    ],
)
def test_short_models_of_device_names(name, memory, model):
    assert model_from_device_name(name, memory) == model


def test_whoever_asks_for_a_gpu_gets_no_part_of_one():
    assert not Choice(model="H100").accepts("H100-1g.10gb", 10 * GIB)
    assert not Choice(model="A100-40GB").accepts("A100-40GB-7g.40gb", 40 * GIB)
    assert Choice(model="H100-1g.10gb").accepts("H100-1g.10gb", 10 * GIB)
    assert Choice(model="A100-3g.20gb").accepts("A100-40GB-3g.20gb", 20 * GIB)
    assert not Choice(model="H100-1g.10gb").accepts("H100", 80 * GIB)
    assert not Choice(model="H100-1g.10gb").accepts("H100-2g.20gb", 20 * GIB)
    assert Choice(min_memory_gib=10).accepts("H100-1g.10gb", 9856 << 20)
    assert Choice().accepts("H100-1g.10gb", 9856 << 20)


def test_several_gpus_are_never_parts_of_one():
    """CUDA shows a process only one MIG instance."""
    assert not Choice(count=2).accepts("H100-1g.10gb", 10 * GIB)
    assert not Choice(min_memory_gib=10, count=2).accepts("H100-1g.10gb", 10 * GIB)
    with pytest.raises(InvalidGpuSpec, match="asks for 2 MIG instances, and CUDA shows a process only one"):
        parse_gpu_spec("H100-1g.10gb:2")
