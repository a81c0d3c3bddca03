"""The other interpreter of these tests: an IPython shell and a ``RemoteNamespace``, served over stdin and stdout.

Frames: a JSON line, then the buffers it announces by length. While a cell runs, this end may ask, and gets an answer.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
import traceback
from typing import Any

from IPython.core.interactiveshell import InteractiveShell
from perijove.remote_agent.runtime.namespace import RemoteNamespace
from perijove.wire.errors import PerijoveError
from perijove.wire.values.parcel import Parcel
from traitlets.config import Config


def send(stream: Any, message: dict[str, Any], parcel: Parcel | None = None) -> None:
    carried = parcel or Parcel()
    buffers = [memoryview(buffer).cast("B") for buffer in carried.buffers]
    document = {**message, "manifest": carried.manifest, "lengths": [len(buffer) for buffer in buffers]}
    stream.write(json.dumps(document).encode() + b"\n")
    for buffer in buffers:
        stream.write(buffer)
    stream.flush()


def receive(stream: Any) -> tuple[dict[str, Any], Parcel]:
    line = stream.readline()
    if not line:
        raise EOFError
    document = json.loads(line)
    buffers = []
    for length in document.pop("lengths"):
        buffer = bytearray(length)
        view = memoryview(buffer)
        while view:
            count = stream.readinto(view)
            if not count:
                raise EOFError
            view = view[count:]
        buffers.append(buffer)
    return document, Parcel(document.pop("manifest"), buffers)


def new_shell() -> InteractiveShell:
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    config.InteractiveShell.xmode = "Plain"
    return InteractiveShell.instance(config=config)


class Server:
    def __init__(self, incoming: Any, outgoing: Any) -> None:
        self.incoming, self.outgoing = incoming, outgoing
        self.shell = new_shell()
        self.namespace = RemoteNamespace(self.shell, self.ask)

    def ask(self, question: Parcel) -> Parcel:
        send(self.outgoing, {"ask": True}, question)
        return receive(self.incoming)[1]

    def serve(self) -> None:
        while True:
            try:
                message, parcel = receive(self.incoming)
            except EOFError:
                return
            started = time.perf_counter()
            try:
                extra, answer = getattr(self, message["do"])(message, parcel)
            except PerijoveError as error:
                extra, answer = {"error": error.code, "text": error.message}, None
            except Exception:
                extra, answer = {"error": "perijove_error", "text": traceback.format_exc()}, None
            send(self.outgoing, {**extra, "seconds": time.perf_counter() - started}, answer)

    def begin(self, message: dict[str, Any], parcel: Parcel) -> tuple[dict[str, Any], None]:
        self.namespace.begin(parcel)
        return {}, None

    def run(self, message: dict[str, Any], parcel: Parcel) -> tuple[dict[str, Any], None]:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            result = self.shell.run_cell(message["cell"], store_history=True)
        failure = result.error_before_exec or result.error_in_exec
        text = None if failure is None else f"{type(failure).__name__}: {failure}"
        return {"printed": printed.getvalue(), "failure": text}, None

    def finish(self, message: dict[str, Any], parcel: Parcel) -> tuple[dict[str, Any], Parcel]:
        return {}, self.namespace.finish()

    def exchange(self, message: dict[str, Any], parcel: Parcel) -> tuple[dict[str, Any], Parcel]:
        return {}, self.namespace.exchange(parcel)


if __name__ == "__main__":
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    Server(sys.stdin.buffer, outgoing).serve()
