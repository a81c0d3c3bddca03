"""``RemoteValue`` says what it is and refuses what it cannot do."""

from __future__ import annotations

import copy
import operator
import pickle

import pytest
from perijove.magics.variables import RemoteValue
from perijove.wire.errors import RemoteValueError


@pytest.fixture
def value():
    about = {"type": "torch.Tensor", "shape": [4, 2], "dtype": "torch.float32", "device": "cuda:0", "size_bytes": 32}
    return RemoteValue("h-1", about, lambda it: "fetched", lambda: "on H100")


def test_repr_and_get(value):
    assert repr(value) == "<RemoteValue torch.Tensor, 4×2, torch.float32, cuda:0, 32 B; on H100>"
    assert value.get() == "fetched"


@pytest.mark.parametrize(
    "use",
    [
        bool,
        len,
        list,
        lambda v: v + 1,
        lambda v: 1 + v,
        operator.neg,
        lambda v: v @ v,
        lambda v: v[0],
        lambda v: v < 1,
        lambda v: v == 1,
        lambda v: v != 1,
        lambda v: v.shape,
        lambda v: v(),
        float,
        copy.copy,
        pickle.dumps,
        lambda v: 1 in v,
    ],
)
def test_every_other_use_raises_and_says_what_to_do(value, use):
    with pytest.raises(RemoteValueError, match=r"torch\.Tensor is in the kernel.*%%gpu.*\.get\(\)"):
        use(value)


def test_numpy_does_not_wrap_it(value):
    numpy = pytest.importorskip("numpy")
    with pytest.raises(RemoteValueError):
        numpy.asarray(value)
    with pytest.raises(RemoteValueError):
        numpy.ones(2) + value


def test_identity_hash_and_probes_work(value):
    assert value in {value}
    assert (value == value) is True
    assert not hasattr(value, "_repr_html_")
    assert dir(value) == ["get"]


def test_after_loss(value):
    value._lost = True
    assert "lost" in repr(value)
    with pytest.raises(RemoteValueError, match="Run the cell that made it again"):
        value.get()
