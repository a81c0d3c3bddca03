"""The driver's error reports (Xids): listening to them, and what came of each GPU.

NVML has no other way than to wait for them, so that is done by a thread of its own. It waits in short slices, and ends
soon after it is told to; it must have ended before NVML is shut down.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pynvml
import structlog

from .xid import Xid, XidLog

_SLICE_MS = 250
_AGAIN_AFTER_S = 1.0
_END_TIMEOUT_S = 5.0
_ANY_INSTANCE = 0xFFFFFFFF
_XIDS = pynvml.nvmlEventTypeXidCriticalError
log = structlog.get_logger("perijove.agent")


class XidReports:
    """All that was reported since the agent began. ``in_doubt`` is called, in the thread, when a GPU came in doubt."""

    def __init__(self, in_doubt: Callable[[], None], now: Callable[[], datetime]) -> None:
        self._in_doubt = in_doubt
        self._now = now
        self._watch: XidWatch | None = None
        self._logs: defaultdict[str, XidLog] = defaultdict(XidLog)  # by whole GPU
        self._using = threading.Lock()

    def listen_to(self, gpus: frozenset[str]) -> None:
        """From now on listen to these whole GPUs: one that was lost and is back has to be listened to anew."""
        if self._watch is not None and self._watch.gpus == gpus:
            return
        self.stop()
        if gpus:
            self._watch = XidWatch(gpus, self._note, self._now)
            self._watch.start()

    def stop(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()

    def illness(self, gpu: str) -> str:
        with self._using:
            return self._logs[gpu].illness

    def was_reset(self, gpu: str) -> None:
        with self._using:
            self._logs[gpu].was_reset()

    def of(self, gpu: str, instance: int | None) -> tuple[dict[int, int] | None, str]:
        """How often each came (None: this GPU's cannot be listened to), and the latest, for people."""
        watch = self._watch
        with self._using:
            counts, latest = self._logs[gpu].counts(instance), self._logs[gpu].latest(instance)
        listens = watch is not None and gpu in watch.can_report
        return counts if counts or listens else None, latest

    def _note(self, xid: Xid) -> None:
        say = log.warning if xid.doubts_device else log.info
        say("the driver reports an error", gpu=xid.gpu, error=str(xid))
        with self._using:
            well = not self._logs[xid.gpu].illness
            self._logs[xid.gpu].note(xid)
        if well and xid.doubts_device:  # once: a program may cause thousands of the others
            self._in_doubt()


class XidWatch:
    """The thread. ``noted`` is called in it. ``can_report``: those of the GPUs that report errors at all."""

    def __init__(self, gpus: frozenset[str], noted: Callable[[Xid], None], now: Callable[[], datetime]) -> None:
        self.gpus = gpus
        self.can_report = frozenset(gpu for gpu in gpus if _can_report(gpu))
        self._noted = noted
        self._now = now
        self._ended = threading.Event()
        # A driver in trouble may never answer: a daemon, so that the agent can end even then.
        self._thread = threading.Thread(target=self._run, name="perijove-xids", daemon=True)

    def start(self) -> None:
        if self.can_report:
            self._thread.start()

    def stop(self) -> None:
        """Returns when the thread has ended, which takes a quarter of a second at most while the driver answers."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(_END_TIMEOUT_S)
            if self._thread.is_alive():
                log.warning("the NVIDIA driver does not answer; left waiting for its error reports")

    def _run(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(pynvml.NVMLError):  # a device was lost, or the driver: begin again with the rest
                self._listen()
            self._ended.wait(_AGAIN_AFTER_S)

    def _listen(self) -> None:
        with _event_set() as events:
            by_handle: dict[int | None, str] = {}
            for uuid in self.can_report:
                with contextlib.suppress(pynvml.NVMLError):  # it is lost; who looks at the devices will see that
                    handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
                    pynvml.nvmlDeviceRegisterEvents(handle, _XIDS, events)
                    by_handle[_address(handle)] = uuid
            while by_handle and not self._ended.is_set():
                try:
                    event = pynvml.nvmlEventSetWait(events, _SLICE_MS)
                except pynvml.NVMLError as error:
                    if error.value == pynvml.NVML_ERROR_TIMEOUT:
                        continue
                    raise
                if event.eventType & _XIDS and (gpu := by_handle.get(_address(event.device))) is not None:
                    instance = None if event.gpuInstanceId == _ANY_INSTANCE else int(event.gpuInstanceId)
                    self._noted(Xid(gpu, int(event.eventData), self._now(), instance))


@contextlib.contextmanager
def _event_set() -> Iterator[Any]:
    events = pynvml.nvmlEventSetCreate()
    try:
        yield events
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlEventSetFree(events)


def _can_report(uuid: str) -> bool:
    """Not every device and driver can, as those of virtual GPUs."""
    try:
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        return bool(pynvml.nvmlDeviceGetSupportedEventTypes(handle) & _XIDS)
    except pynvml.NVMLError:
        return False


def _address(handle: Any) -> int | None:
    return ctypes.cast(handle, ctypes.c_void_p).value
