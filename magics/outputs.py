"""How a remote kernel's output becomes the notebook's own.

Output of the cell that is running goes through ``sys.stdout``, the shell's display publisher and its display hook, on
the main thread, so that ``%%capture``, ``Output`` widgets and hooks see it like local output. Output that belongs to
another request (a widget's callback, a background thread's late print) is published with that request as its parent.
"""

from __future__ import annotations

import html
import sys
from typing import TYPE_CHECKING, Any

from .messages import Document, Message

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


class RemoteResult:
    """Stands in for the value of the last expression while IPython's display hook shows it."""

    def __init__(self, data: Document, metadata: Document) -> None:
        self._data = data
        self._metadata = metadata

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[Document, Document]:
        return self._data, self._metadata

    def __repr__(self) -> str:
        return str(self._data.get("text/plain", ""))


class Outputs:
    """Publishes messages in one notebook. ``kernel`` is None in a terminal."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self.kernel: Any = getattr(shell, "kernel", None)
        self.published = 0  # since the local cell began
        self.cleared = 0  # how often a cell has cleared its output
        self._written: Any = None  # the stream that was written to last, until it is flushed

    def publish(self, message: Message) -> None:
        """Output of the running cell. Other types than output are none of this method's business."""
        content = message.content
        self.published += 1
        match message.type:
            case "stream":
                self._write(sys.stderr if content["name"] == "stderr" else sys.stdout, content["text"])
            case "display_data":
                self._display(content, update=False)
            case "update_display_data":
                self._display(content, update=True)
            case "clear_output":
                self.cleared += 1
                publisher: Any = self._shell.display_pub
                publisher.clear_output(wait=bool(content.get("wait")))
            case "execute_result":
                sys.displayhook(RemoteResult(content["data"], content.get("metadata", {})))
            case "error":
                self.publish_late(message)

    def notice(self, sentence: str) -> None:
        """Something the user must know before the cell's own output, such as lost variables."""
        publisher: Any = self._shell.display_pub
        style = "border-left: 3px solid #d9822b; padding-left: 0.6em"
        publisher.publish(
            data={"text/plain": sentence, "text/html": f'<div style="{style}">{html.escape(sentence)}</div>'},
            metadata={"perijove": {"role": "notice"}},
        )

    def show_at_end(self, data: Document, metadata: Document) -> None:
        """A display of ours behind all of the cell's output.

        Straight to IOPub: the display publisher first flushes both streams, which costs two trips to ipykernel's IOPub
        thread, also when they hold nothing; after each cell that adds up.
        """
        if self.kernel is None:
            quiet = {"text/plain": self._dimmed(data["text/plain"])}
            self._display({"data": data | quiet, "metadata": metadata}, update=False)
            return
        for stream in (sys.stdout, sys.stderr):
            if getattr(stream, "_buffers", True) and hasattr(stream, "flush"):
                stream.flush()
        self.kernel.session.send(
            self.kernel.iopub_socket,
            "display_data",
            {"data": data, "metadata": metadata, "transient": {}},
            parent=self.kernel.get_parent("shell"),
            ident=bytes(self.kernel._topic("display_data")),
        )

    def publish_late(self, message: Message) -> None:
        """Output that belongs to another request than the one that runs now: it says itself where it goes."""
        if self.kernel is not None:
            self.forward(message)
        elif message.type == "error":
            sys.stderr.write("\n".join(message.content["traceback"]) + "\n")
        else:
            self.publish(message)

    def forward(self, message: Message) -> None:
        """Publish a message on IOPub as it came, under the parent it came with."""
        self._flush()
        self.kernel.session.send(
            self.kernel.iopub_socket,
            message.type,
            message.content,
            parent={"header": message.parent_header},
            metadata=message.metadata,
            buffers=list(message.buffers) or None,
            ident=self._topic(message),
        )

    def _dimmed(self, text: str) -> str:
        """As quiet as a terminal can show it."""
        colored = sys.stdout.isatty() and str(self._shell.colors).lower() != "nocolor"
        return f"\x1b[2m{text}\x1b[0m" if colored else text

    def _write(self, stream: Any, text: str) -> None:
        """Streams buffer each for itself, so that what came in turns would leave in two lumps."""
        if stream is not self._written:
            self._flush()
            self._written = stream
        stream.write(text)

    def _flush(self) -> None:
        written, self._written = self._written, None
        if hasattr(written, "flush"):  # the user may have put anything that has a ``write`` in its place
            written.flush()

    def _topic(self, message: Message) -> bytes:
        suffix = f".{message.content['name']}" if message.type == "stream" else ""
        return bytes(self.kernel._topic(message.type + suffix))

    def _display(self, content: Document, *, update: bool) -> None:
        publisher: Any = self._shell.display_pub
        publisher.publish(
            data=content["data"],
            metadata=content.get("metadata", {}),
            transient=content.get("transient", {}),
            update=update,
        )
