"""What front-ends expect of any kernel, from ours: history, subshells, the debugger (DESIGN.md §1)."""

from __future__ import annotations

import json
from typing import Any

from perijove.wire.control import Hello

from .fake_broker import FakeBroker, FakeClient


async def reply_to(client: FakeClient, msg_id: str) -> dict[str, Any]:
    reply: dict[str, Any] = {}
    async for channel, _, content, _ in client.answers(msg_id):
        if channel in ("shell", "control"):
            reply = content
    return reply


async def bound(agent: Hello, broker: FakeBroker) -> FakeClient:
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    assert isinstance(client, FakeClient)
    return client


async def test_a_seeded_count_is_the_cells_and_history_goes_on_from_it(agent: Hello, broker: FakeBroker) -> None:
    client = await bound(agent, broker)
    seeded = {"perijove": {"execution_count": 12}}
    outcome = await client.run("'twelve'", metadata=seeded)
    assert (outcome.reply["execution_count"], outcome.result) == (12, "'twelve'")
    assert (await client.run("Out[12], _, _12")).result == "('twelve', 'twelve', 'twelve')"
    outcome = await client.run("In[12]")
    assert (outcome.reply["execution_count"], outcome.result) == (14, "\"'twelve'\"")
    assert (await client.run("%history -n 12-13")).text == "  12: 'twelve'\n  13: Out[12], _, _12\n"
    msg_id = await client.request(
        "shell",
        "history_request",
        {"hist_access_type": "tail", "n": 2, "output": False, "raw": True, "session": 0, "start": 0, "stop": 0},
    )
    history = (await reply_to(client, msg_id))["history"]
    assert [line for _, line, _ in history] == [14, 15]


async def test_a_silent_cell_changes_no_count(agent: Hello, broker: FakeBroker) -> None:
    client = await bound(agent, broker)
    await client.run("1", metadata={"perijove": {"execution_count": 5}})
    content = {"code": "hidden = 1", "silent": True, "store_history": False, "allow_stdin": False}
    await client.outcome(await client.request("shell", "execute_request", content))
    assert (await client.run("hidden")).reply["execution_count"] == 6


async def test_subshells_are_made_listed_used_and_deleted(agent: Hello, broker: FakeBroker) -> None:
    client = await bound(agent, broker)
    made = await reply_to(client, await client.request("control", "create_subshell_request", {}))
    assert made["status"] == "ok"
    subshell = made["subshell_id"]
    listed = await reply_to(client, await client.request("control", "list_subshell_request", {}))
    assert listed["subshell_id"] == [subshell]

    await client.run("import threading\ngate = threading.Event()")
    blocked = await client.execute("gate.wait(30)\n'through'")
    freed = await execute_in(client, subshell, "gate.set()")
    results = {}
    open_requests = {blocked: set[str](), freed: set[str]()}
    while not all(kinds == {"reply", "idle"} for kinds in open_requests.values()):
        frame = await client.next_frame()
        parent = json.loads(bytes(frame.parent_header)).get("msg_id")
        if parent not in open_requests:
            continue
        msg_type, content = json.loads(bytes(frame.header))["msg_type"], json.loads(bytes(frame.content))
        if msg_type == "execute_result":
            results[parent] = content["data"]["text/plain"]
        elif msg_type == "execute_reply":
            open_requests[parent].add("reply")
        elif msg_type == "status" and content["execution_state"] == "idle":
            open_requests[parent].add("idle")
    assert results == {blocked: "'through'"}

    deleted = await reply_to(
        client, await client.request("control", "delete_subshell_request", {"subshell_id": subshell})
    )
    assert deleted["status"] == "ok"
    listed = await reply_to(client, await client.request("control", "list_subshell_request", {}))
    assert listed["subshell_id"] == []


async def execute_in(client: FakeClient, subshell: str, code: str) -> str:
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
    return await client.request("shell", "execute_request", content, header={"subshell_id": subshell})


async def test_a_comm_message_for_a_subshell_is_handled_while_a_cell_runs(agent: Hello, broker: FakeBroker) -> None:
    client = await bound(agent, broker)
    made = await reply_to(client, await client.request("control", "create_subshell_request", {}))
    await client.run(
        "import threading\ngate = threading.Event()\n"
        "def opened(comm, message):\n    comm.on_msg(lambda message: gate.set())\n"
        "get_ipython().kernel.comm_manager.register_target('t', opened)"
    )
    opening = {"comm_id": "c", "target_name": "t", "data": {}}
    await client.request("shell", "comm_open", opening)
    await client.run("'it is open'")
    blocked = await client.execute("gate.wait(30)")
    await client.request("shell", "comm_msg", {"comm_id": "c", "data": {}}, header={"subshell_id": made["subshell_id"]})
    outcome = await client.outcome(blocked)
    assert outcome.result == "True"


async def test_a_debugger_stops_at_a_breakpoint_and_goes_on(agent: Hello, broker: FakeBroker) -> None:
    client = await bound(agent, broker)
    seq = iter(range(1, 100))

    async def ask(command: str, **arguments: Any) -> str:
        content = {"type": "request", "seq": next(seq), "command": command, "arguments": arguments}
        return await client.request("control", "debug_request", content)

    async def debug(command: str, **arguments: Any) -> dict[str, Any]:
        reply = await reply_to(client, await ask(command, **arguments))
        assert reply["success"], reply
        return reply

    await debug(
        "initialize",
        clientID="test",
        clientName="test",
        adapterID="",
        pathFormat="path",
        linesStartAt1=True,
        columnsStartAt1=True,
    )
    await debug("attach")
    code = "a = 20\nb = a + 1\nb * 2"
    source = (await debug("dumpCell", code=code))["body"]["sourcePath"]
    await debug("setBreakpoints", source={"path": source}, breakpoints=[{"line": 2}], sourceModified=False)
    await debug("configurationDone")
    cell = await client.execute(code)
    while True:
        frame = await client.next_frame()
        if b'"debug_event"' in bytes(frame.header):
            event = json.loads(bytes(frame.content))
            if event["event"] == "stopped":
                break
    thread = event["body"]["threadId"]
    top = (await debug("stackTrace", threadId=thread))["body"]["stackFrames"][0]
    assert top["line"] == 2
    scopes = (await debug("scopes", frameId=top["id"]))["body"]["scopes"]
    local = next(scope for scope in scopes if scope["name"] == "Locals")
    variables = (await debug("variables", variablesReference=local["variablesReference"]))["body"]["variables"]
    assert ("a", "20") in {(each["name"], each["value"]) for each in variables}
    await ask("continue", threadId=thread)  # what the cell says comes beside the reply
    assert (await client.outcome(cell)).result == "42"
    await debug("disconnect", restart=False, terminateDebuggee=False)
