"""The debugger, spoken to as JupyterLab does: ``debug_request`` on control, ``debug_event`` on IOPub."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from .front_end import FrontEnd, Message

pytestmark = pytest.mark.xdist_group("kernel-debugger")

CODE = "def double(n):\n    twice = 2 * n\n    return twice\nprint('got', double(21))"
NUMBERS = itertools.count(1)


def asked(kernel: FrontEnd, command: str, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
    """A debugger's answer; its body."""
    request = {"type": "request", "seq": next(NUMBERS), "command": command, "arguments": arguments or {}}
    answer: dict[str, Any] = kernel.ask("debug_request", request, channel="control")["content"]
    assert answer["success"], answer
    assert answer["command"] == command
    return dict(answer.get("body") or {})


def event(name: str) -> Callable[[Message], bool]:
    return lambda message: message["msg_type"] == "debug_event" and message["content"]["event"] == name


def started(kernel: FrontEnd) -> None:
    lines = {"linesStartAt1": True, "columnsStartAt1": True}
    asked(kernel, "initialize", {"clientID": "jupyterlab", "adapterID": "", "pathFormat": "path", **lines})
    asked(kernel, "attach")


def test_a_breakpoint_stops_and_the_cell_goes_on(kernel: FrontEnd):
    kernel.run("1")
    assert asked(kernel, "debugInfo")["isStarted"] is False
    started(kernel)
    try:
        path = asked(kernel, "dumpCell", {"code": CODE})["sourcePath"]
        source = {"path": path}
        points = asked(kernel, "setBreakpoints", {"breakpoints": [{"line": 3}], "source": source})["breakpoints"]
        assert [point["verified"] for point in points] == [True]
        asked(kernel, "configurationDone")
        info = asked(kernel, "debugInfo")
        assert info["isStarted"] is True
        assert [entry["source"] for entry in info["breakpoints"]] == [path]

        message_id = kernel.start(CODE)
        stopped = kernel.wait_for(event("stopped"), "the breakpoint")
        thread = {"threadId": stopped["content"]["body"]["threadId"]}
        frame = asked(kernel, "stackTrace", thread)["stackFrames"][0]
        assert (frame["name"], frame["line"], frame["source"]["path"]) == ("double", 3, path)
        scope = asked(kernel, "scopes", {"frameId": frame["id"]})["scopes"][0]
        variables = asked(kernel, "variables", {"variablesReference": scope["variablesReference"]})["variables"]
        assert {v["name"]: v["value"] for v in variables if v["name"] in ("n", "twice")} == {"n": "21", "twice": "42"}
        assert asked(kernel, "evaluate", {"expression": "twice + 1", "frameId": frame["id"]})["result"] == "43"
        asked(kernel, "next", thread)
        kernel.wait_for(event("stopped"), "the next line")
        asked(kernel, "continue", thread)
        cell = kernel.finish(message_id)
        assert cell.ok
    finally:
        asked(kernel, "disconnect", {"restart": False, "terminateDebuggee": True})
    assert asked(kernel, "debugInfo")["isStarted"] is False
    assert kernel.run("double(4)").result == "8"


def test_variables_are_shown_without_a_breakpoint(kernel: FrontEnd):
    kernel.run("shown_over_there = [1, 2]")
    names = {variable["name"] for variable in asked(kernel, "inspectVariables")["variables"]}
    assert "shown_over_there" in names
    rich = asked(kernel, "richInspectVariables", {"variableName": "shown_over_there"})
    assert rich["data"]["text/plain"] == "[1, 2]"


def test_a_kernel_without_a_process_says_so(gpu_kernel: FrontEnd):
    info = asked(gpu_kernel, "debugInfo")
    assert info["isStarted"] is False
    request = {"type": "request", "seq": next(NUMBERS), "command": "initialize", "arguments": {}}
    answer = gpu_kernel.ask("debug_request", request, channel="control")["content"]
    assert answer["success"] is False
    assert "no GPU attached" in answer["message"]
