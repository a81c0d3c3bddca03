"""``%%gpu`` cells: variables in, a result out, questions on the way, errors that are the cell's (docs/protocol.md §5).

The namespace is a stand-in put into the kernel, so that these tests are about what carries the variables.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from perijove.wire.blobs import BlobChunk, pack_chunk, unpack_chunk
from perijove.wire.control import Hello
from perijove.wire.envelope import CHUNK_BYTES, Kind

from .fake_broker import FakeBroker, FakeClient

STAND_IN = """
import sys, types
from perijove.wire.errors import CannotTravel
from perijove.wire.values.parcel import Parcel

class RemoteNamespace:
    def __init__(self, shell, ask):
        self.shell, self.ask = shell, ask
        shell.user_ns["ask"] = lambda name: self.ask(Parcel({"name": name}, [b"q" * 10])).manifest["value"]
    def begin(self, parcel):
        if "refuse" in parcel.manifest:
            raise CannotTravel("x cannot travel")
        self.shell.user_ns["buffers"] = list(parcel.buffers)
        self.shell.user_ns.update(parcel.manifest.get("values", {}))
    def finish(self):
        if self.shell.user_ns.get("fail_finish"):
            raise ValueError("no way back")
        names = [n for n in ("out", "buffers") if n in self.shell.user_ns]
        return Parcel({"names": names, "out": self.shell.user_ns.get("out")}, self.shell.user_ns.get("send", []))
    def exchange(self, question):
        if question.manifest.get("fail"):
            raise CannotTravel("nothing like that here")
        return Parcel({"echo": question.manifest}, question.buffers)

module = types.ModuleType("namespace")
module.RemoteNamespace = RemoteNamespace
sys.modules["perijove.remote_agent.runtime.namespace"] = module
"""


@pytest.fixture
async def client(agent: Hello, broker: FakeBroker) -> FakeClient:
    _, client = await broker.bind(gpus=[agent.gpus[0].uuid])
    await client.run(STAND_IN)
    return client


def cell(manifest: dict[str, Any] | None = None, *, count: int = 7, **more: Any) -> dict[str, Any]:
    return {"perijove": {"cell": {"manifest": manifest or {}, "execution_count": count}, **more}}


async def put(client: FakeClient, data: bytes) -> str:
    blob_id = os.urandom(16)
    for offset in range(0, len(data), CHUNK_BYTES):
        chunk = BlobChunk(blob_id, offset, len(data), data[offset : offset + CHUNK_BYTES])
        await client.blob(Kind.BLOB_PUT, pack_chunk(chunk))
        stored = unpack_chunk((await client.blobs.get()).payload)
    assert stored.offset == len(data)
    return blob_id.hex()


async def get(client: FakeClient, blob_id: str, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        await client.blob(Kind.BLOB_GET, pack_chunk(BlobChunk(bytes.fromhex(blob_id), len(data), 8 << 20)))
        wanted = min(size, len(data) + (8 << 20))
        while len(data) < wanted:
            envelope = await client.blobs.get()
            assert envelope.kind is Kind.BLOB_DATA
            chunk = unpack_chunk(envelope.payload)
            assert (chunk.offset, chunk.size) == (len(data), size)
            data += chunk.data
    return bytes(data)


async def test_variables_go_in_and_a_result_comes_out(client: FakeClient) -> None:
    outcome = await client.run(
        "out = x + 1; buffers[0][0] = 9; bytes(buffers[0])",
        metadata=cell({"values": {"x": 41}}),
        buffers=[b"\1\2\3"],
    )
    assert outcome.result == r"b'\t\x02\x03'"
    assert outcome.variables["manifest"] == {"names": ["out", "buffers"], "out": 42}
    assert outcome.variables["ran_ms"] >= 0
    assert outcome.reply["execution_count"] == 7
    assert outcome.types.count("perijove_result") == 1


async def test_a_result_comes_after_errors_too(client: FakeClient) -> None:
    outcome = await client.run("out = 5\n1 / 0", metadata=cell())
    assert outcome.reply["ename"] == "ZeroDivisionError"
    assert outcome.variables["manifest"]["out"] == 5


@pytest.mark.parametrize(
    ("code", "manifest", "ename"),
    [("1", {"refuse": 1}, "CannotTravel"), ("fail_finish = True", {}, "ValueError")],
    ids=["begin", "finish"],
)
async def test_trouble_with_variables_is_the_cells_error(
    client: FakeClient, code: str, manifest: dict[str, Any], ename: str
) -> None:
    outcome = await client.run(code, metadata=cell(manifest))
    assert (outcome.reply["status"], outcome.reply["ename"]) == ("error", ename)
    assert outcome.types.count("error") == 1
    assert outcome.reply["execution_count"] == 7


async def test_large_buffers_travel_as_blobs_both_ways(client: FakeClient) -> None:
    data = os.urandom(1 << 20) * 64
    blob_id = await put(client, data)
    described = [{"inline": True}, {"blob": blob_id, "size": len(data)}]
    outcome = await client.run(
        "big = buffers[1]; big[0] = (big[0] + 1) % 256; send = [big, b'small']; len(big)",
        metadata=cell(buffers=described),
        buffers=[b"first"],
    )
    assert outcome.result == str(len(data))
    back = json.loads(bytes(outcome.variables_frame.metadata))["perijove"]["buffers"]
    assert back[1] == {"inline": True}
    assert back[0]["size"] == len(data)
    received = await get(client, back[0]["blob"], len(data))
    assert received[1:] == data[1:]
    assert received[0] == (data[0] + 1) % 256
    await client.blob(Kind.BLOB_DROP, pack_chunk(BlobChunk(bytes.fromhex(back[0]["blob"]), 0, 0)))
    await client.blob(Kind.BLOB_GET, pack_chunk(BlobChunk(bytes.fromhex(back[0]["blob"]), 0, 1)))
    assert (await client.blobs.get()).kind is Kind.BLOB_FAILED


async def test_a_blob_that_never_came_is_an_error_of_the_cell(client: FakeClient) -> None:
    outcome = await client.run("1", metadata=cell(buffers=[{"blob": "00" * 16, "size": 5}]))
    assert outcome.reply["ename"] == "StateLost"


async def test_the_notebook_is_asked_while_the_cell_runs(client: FakeClient) -> None:
    msg_id = await client.execute("out = ask('y') + 1", metadata=cell())
    while True:
        frame = await client.next_frame()
        if frame.channel == "stdin":
            break
    assert json.loads(bytes(frame.content)) == {"manifest": {"name": "y"}}
    assert bytes(frame.buffers[0]) == b"q" * 10
    await client.request("stdin", "perijove_question_reply", {"manifest": {"value": 41}}, parent=bytes(frame.header))
    assert (await client.outcome(msg_id)).variables["manifest"]["out"] == 42


async def test_a_question_nobody_answers_can_be_interrupted(client: FakeClient) -> None:
    msg_id = await client.execute("ask('y')", metadata=cell())
    while (await client.next_frame()).channel != "stdin":
        pass
    await client.request("control", "interrupt_request", {})
    assert (await client.outcome(msg_id)).reply["ename"] == "KeyboardInterrupt"
    assert (await client.run("1 + 1")).result == "2"


async def test_input_works_as_in_any_kernel(client: FakeClient) -> None:
    msg_id = await client.execute("input('name? ')")
    while True:
        frame = await client.next_frame()
        if frame.channel == "stdin":
            break
    assert json.loads(bytes(frame.content))["prompt"] == "name? "
    await client.request("stdin", "input_reply", {"value": "Ada"}, parent=bytes(frame.header))
    assert (await client.outcome(msg_id)).result == "'Ada'"


async def test_values_are_exchanged_between_cells(client: FakeClient) -> None:
    msg_id = await client.request("shell", "perijove_exchange_request", {"manifest": {"a": 1}}, buffers=[b"xyz"])
    outcome = await client.outcome(msg_id)
    assert outcome.reply == {"status": "ok", "manifest": {"echo": {"a": 1}}}
    assert bytes(outcome.reply_frame.buffers[0]) == b"xyz"
    msg_id = await client.request("shell", "perijove_exchange_request", {"manifest": {"fail": True}})
    outcome = await client.outcome(msg_id)
    assert (outcome.reply["status"], outcome.reply["code"]) == ("error", "cannot_travel")


async def test_a_plain_cell_can_carry_the_notebooks_count(client: FakeClient) -> None:
    outcome = await client.run("1", metadata={"perijove": {"execution_count": 12}})
    assert outcome.reply["execution_count"] == 12
