"""The answers of a kernel without a process on a GPU: honest, and empty where only the process would know.

DESIGN.md §3, "Released kernels answer for themselves". Each is the content of a reply to a request's content.
"""

from __future__ import annotations

import codeop
import platform
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .messages import PROTOCOL_VERSION, Document

NO_PROCESS = "there is no GPU attached to this kernel at the moment; run a cell first"
_TOP_LEVEL_AWAIT = 0x2000  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
_IPYTHON_LINE = re.compile(r"^\s*[%!?]|\?\s*$|^\s*[\w, ]+=\s*[%!]", re.MULTILINE)


def kernel_info(gpu_spec: str) -> Document:
    """The process's own answer would be of its Python; which one that is, is known only when it is attached."""
    python = platform.python_version()
    return {
        "status": "ok",
        "protocol_version": PROTOCOL_VERSION,
        "implementation": "ipython",  # a real ipykernel runs the cells
        "implementation_version": _version_of("ipython"),
        "language_info": {
            "name": "python",
            "version": python,
            "mimetype": "text/x-python",
            "codemirror_mode": {"name": "ipython", "version": 3},
            "pygments_lexer": "ipython3",
            "nbconvert_exporter": "python",
            "file_extension": ".py",
        },
        "banner": (
            f"Python {python}, IPython {_version_of('ipython')} on a remote GPU ({gpu_spec}), "
            f"by Perijove {_version_of('perijove')}\n"
            "Nothing is billed until a cell runs. %gpu help lists what else there is.\n"
        ),
        "help_links": [],
        "debugger": True,
        "supported_features": ["debugger", "kernel subshells"],
    }


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "0"


def answer(msg_type: str, content: Document, comms: Mapping[str, str]) -> tuple[str, Document] | None:
    """The type and content of a reply; None for a request that only a process can answer.

    Args:
        comms: target names by comm id, of the process that is without a GPU now.
    """
    make = _ANSWERS.get(msg_type)
    if make is not None:
        return msg_type.replace("_request", "_reply"), make(content)
    if msg_type == "comm_info_request":
        target = content.get("target_name")
        shown = {comm: {"target_name": name} for comm, name in comms.items() if not target or name == target}
        return "comm_info_reply", {"status": "ok", "comms": shown}
    return None


def no_answer(msg_type: str) -> tuple[str, Document]:
    """The reply to a request that only a process can answer."""
    content = {"status": "error", "ename": "KernelReleased", "evalue": NO_PROCESS, "traceback": []}
    return msg_type.replace("_request", "_reply"), content


def hidden_cell(content: Document, execution_count: int) -> Document:
    """The reply to a set-up cell: front-ends run them when they connect, and are to find everything well."""
    return {
        "status": "ok",
        "execution_count": execution_count,
        "user_expressions": unknown_expressions(content.get("user_expressions") or {}),
        "payload": [],
    }


def unknown_expressions(names: Iterable[str]) -> Document:
    error = {"status": "error", "ename": "KernelReleased", "evalue": NO_PROCESS, "traceback": [NO_PROCESS]}
    return dict.fromkeys(names, error)


def _complete(content: Document) -> Document:
    position = content.get("cursor_pos", 0)
    return {"status": "ok", "matches": [], "cursor_start": position, "cursor_end": position, "metadata": {}}


def _inspect(content: Document) -> Document:
    return {"status": "ok", "found": False, "data": {}, "metadata": {}}


def _history(content: Document) -> Document:
    return {"status": "ok", "history": []}


def _is_complete(content: Document) -> Document:
    """Python's own judgement; lines that only IPython understands count as complete."""
    code = str(content.get("code", ""))
    if _IPYTHON_LINE.search(code):
        return {"status": "complete"}
    compiler = codeop.Compile()
    compiler.flags |= _TOP_LEVEL_AWAIT
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = codeop._maybe_compile(compiler, code, "<cell>", "exec")  # type: ignore[attr-defined]
    except (SyntaxError, OverflowError, ValueError):
        return {"status": "invalid"}
    lines = code.splitlines()
    if whole is None or (lines and _opens_block(lines)):
        return {"status": "incomplete", "indent": _next_indent(lines)}
    return {"status": "complete"}


def _opens_block(lines: list[str]) -> bool:
    """A block is over at a blank line: who types it line by line may want another one in it."""
    return bool(lines[-1].strip()) and lines[-1][:1].isspace()


def _next_indent(lines: list[str]) -> str:
    last = lines[-1] if lines else ""
    indent = last[: len(last) - len(last.lstrip())]
    return indent + "    " if last.rstrip().endswith(":") else indent


def _debug(content: Document) -> Document:
    """The debugger is the process's; that there is none yet is no error to a front-end that only looks."""
    response: Document = {
        "type": "response",
        "seq": 0,
        "request_seq": content.get("seq", 0),
        "command": content.get("command", ""),
        "success": False,
        "message": NO_PROCESS,
        "body": {},
    }
    if content.get("command") == "debugInfo":
        response |= {"success": True, "message": "", "body": _DEBUGGER_IS_OFF}
    return response


_DEBUGGER_IS_OFF = {
    "isStarted": False,
    "hashMethod": "Murmur2",
    "hashSeed": 3339675911,
    "tmpFilePrefix": "",
    "tmpFileSuffix": ".py",
    "breakpoints": [],
    "stoppedThreads": [],
    "richRendering": True,
    "exceptionPaths": ["Python Exceptions"],
    "copyToGlobals": True,
}

_ANSWERS: dict[str, Callable[[Document], Any]] = {
    "complete_request": _complete,
    "inspect_request": _inspect,
    "history_request": _history,
    "is_complete_request": _is_complete,
    "debug_request": _debug,
}
