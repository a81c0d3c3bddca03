"""How a remote kernel's output becomes the notebook's own.

Output of the cell that is running goes through ``sys.stdout``, the shell's display publisher and its display hook, on
the main thread, so that ``%%capture``, ``Output`` widgets and hooks see it like local output. Output that belongs to
another request (a widget's callback, a background thread's late print) is published with that request as its parent.
"""

from __future__ import annotations

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

    def publish(self, message: Message) -> None:
        """Output of the running cell. Other types than output are none of this method's business."""
        content = message.content
        self.published += 1
        match message.type:
            case "stream":
                stream = sys.stderr if content["name"] == "stderr" else sys.stdout
                stream.write(content["text"])
            case "display_data":
                self._display(content, update=False)
            case "update_display_data":
                self._display(content, update=True)
            case "clear_output":
                publisher: Any = self._shell.display_pub
                publisher.clear_output(wait=bool(content.get("wait")))
            case "execute_result":
                sys.displayhook(RemoteResult(content["data"], content.get("metadata", {})))

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
        self.kernel.session.send(
            self.kernel.iopub_socket,
            message.type,
            message.content,
            parent={"header": message.parent_header},
            metadata=message.metadata,
            buffers=list(message.buffers) or None,
            ident=self._topic(message),
        )

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
