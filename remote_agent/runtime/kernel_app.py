"""ipykernel's application with our kernel in it: no high-water marks on sockets, and output bounded instead."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import ipykernel.kernelapp
import zmq
from ipykernel.kernelapp import IPKernelApp
from traitlets import DottedObjectName, Type

from .environment import FLOW_FILE
from .output import BoundedIOPubThread, OutputGate

_OUTPUT_MODULE = "perijove.remote_agent.runtime.output"


class RemoteKernelApp(IPKernelApp):  # type: ignore[misc]  # ipykernel is not typed
    """Keeps ipykernel's name, so that it reads the configuration files that a kernel reads at home."""

    kernel_class = Type("perijove.remote_agent.runtime.kernel.RemoteKernel", klass="ipykernel.kernelbase.Kernel").tag(
        config=True
    )
    outstream_class = DottedObjectName(f"{_OUTPUT_MODULE}.BoundedOutStream", allow_none=True).tag(config=True)

    def _bind_socket(self, s: Any, port: int) -> Any:
        s.sndhwm = s.rcvhwm = 0  # must be set before binding; ZeroMQ would drop output at its default of 1,000
        return super()._bind_socket(s, port)

    def init_iopub(self, context: zmq.Context[Any]) -> None:
        """ipykernel names its IOPub thread's class in the module, not in a trait: put ours in its place meanwhile."""
        flow_file = os.environ.pop(FLOW_FILE, "")
        gate = OutputGate(Path(flow_file) if flow_file else None)
        stock = ipykernel.kernelapp.IOPubThread
        ipykernel.kernelapp.IOPubThread = partial(BoundedIOPubThread, gate=gate)
        try:
            super().init_iopub(context)
        finally:
            ipykernel.kernelapp.IOPubThread = stock

    def initialize(self, argv: list[str] | None = None) -> None:
        super().initialize(argv)
        self.log.setLevel(self.log_level)  # traitlets' handler has this level, the logger makes all records for it
        _stop_echo()
        with contextlib.suppress(ImportError):  # a spare has time; the first %%gpu cell does not
            importlib.import_module("perijove.remote_agent.runtime.namespace")


def _stop_echo() -> None:
    """Native output is captured and shown in the cell; do not also write it to where the kernel's errors went."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        copy = getattr(stream, "_original_stdstream_copy", None)
        if copy is not None:
            os.dup2(devnull, copy)
    os.close(devnull)


def main() -> None:
    app = RemoteKernelApp.instance()
    app.initialize()
    app.start()
