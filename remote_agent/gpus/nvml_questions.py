"""Questions to NVIDIA's management library about one device, and what an answer means."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import pynvml

from ..errors import GpuUnavailable

# What NVML says of a device that only a reset, a repair or its host's restart brings back.
LOST = (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED, pynvml.NVML_ERROR_GPU_NOT_FOUND)
# What it says when it has to be begun with again: there is no driver (any more), or another than before.
GONE = (
    pynvml.NVML_ERROR_UNINITIALIZED,
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND,
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
)
_ASKS_FOR = {  # the driver's own word on what has to be done about a device
    pynvml.NVML_GPU_RECOVERY_ACTION_GPU_RESET: "a reset of the GPU (nvidia-smi --gpu-reset, with the agent stopped)",
    pynvml.NVML_GPU_RECOVERY_ACTION_NODE_REBOOT: "a restart of its host",
    pynvml.NVML_GPU_RECOVERY_ACTION_DRAIN_AND_RESET: (
        "a reset of the GPU once nothing runs on it (nvidia-smi --gpu-reset, with the agent stopped)"
    ),
}
_SIZE = re.compile(r"\b(\d+) ?GB\b", re.IGNORECASE)
_UNCORRECTED = (pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC)
_CORRECTED = (pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED, pynvml.NVML_VOLATILE_ECC)


def why_gone(error: pynvml.NVMLError) -> str:
    """Why there are no devices, for people."""
    if error.value == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
        return "the NVIDIA driver was updated and not yet loaded anew; reload it or restart the host"
    return "the NVIDIA driver is not loaded" if error.value in GONE else f"the NVIDIA driver does not answer: {error}"


def if_known(question: Callable[..., Any], *arguments: Any) -> Any:
    """What the driver says; None where it cannot, as many devices cannot say everything."""
    try:
        return question(*arguments)
    except (pynvml.NVMLError, AttributeError):  # of a library older than the question: AttributeError
        return None


@contextlib.contextmanager
def saying(uuid: str) -> Iterator[None]:
    try:
        yield
    except pynvml.NVMLError as error:
        raise GpuUnavailable(f"the driver cannot reach GPU {uuid}: {error}") from error


def text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def memory_of(handle: Any) -> Any:
    """``used`` and ``total``, in bytes. What the driver keeps for itself is no use of the GPU; older ones count it."""
    told = if_known(pynvml.nvmlDeviceGetMemoryInfo, handle, pynvml.nvmlMemory_v2)
    return pynvml.nvmlDeviceGetMemoryInfo(handle) if told is None else told


def size_in_name(name: str) -> int:
    """Bytes, by what a device is called; 0 where that names no size.

    Of a GPU in MIG mode the driver tells its memory to privileged processes only.
    """
    size = _SIZE.search(name)
    return int(size[1]) << 30 if size else 0


def in_mig_mode(handle: Any) -> bool:
    mode = if_known(pynvml.nvmlDeviceGetMigMode, handle)
    return mode is not None and mode[0] == pynvml.NVML_DEVICE_MIG_ENABLE


def ecc_errors(handle: Any) -> tuple[int | None, int | None]:
    """Corrected and uncorrected ones, since the driver was loaded."""
    count = pynvml.nvmlDeviceGetTotalEccErrors
    return if_known(count, handle, *_CORRECTED), if_known(count, handle, *_UNCORRECTED)


def illness(handle: Any) -> str:
    """Why nothing new may run on a device, for people; empty when it is well.

    Errors that could not be corrected are counted until the device is reset: results after one cannot be trusted.
    """
    _, errors = ecc_errors(handle)
    if errors:
        plural = "errors" if errors > 1 else "error"
        return f"{errors} uncorrected memory {plural}; reset it (nvidia-smi --gpu-reset) or restart its host"
    remapped = if_known(pynvml.nvmlDeviceGetRemappedRows, handle)
    if remapped is not None and remapped[3]:
        return "its memory has bad rows and no spare ones left; it has to be replaced"
    if (action := _recovery_action(handle)) in _ASKS_FOR:
        return f"its driver asks for {_ASKS_FOR[action]}"
    return ""


def _recovery_action(handle: Any) -> int | None:
    """What the driver wants done, where it is new enough to say so."""
    told = if_known(pynvml.nvmlDeviceGetFieldValues, handle, [pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION])
    return int(told[0].value.uiVal) if told is not None and told[0].nvmlReturn == pynvml.NVML_SUCCESS else None
