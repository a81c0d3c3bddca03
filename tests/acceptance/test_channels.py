"""The broker's ``/channels`` as a raw client finds it: both framings, several clients, connections that break."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from perijove.wire.jupyter_frames import SUBPROTOCOL, decode_frame, encode_frame
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from .conftest import perijove
from .jupyter_servers import Server, broker
from .observing import wait_until

pytestmark = pytest.mark.xdist_group("channels")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    directory = Path(tempfile.mkdtemp(prefix="pj-"))
    try:
        with broker(directory, "H100:1") as running:
            yield running
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class FrontEnd:
    """One connection; reads when it is asked to."""

    def __init__(self, server: Server, kernel_id: str, *, v1: bool = True, session: str | None = None) -> None:
        self.session, self._v1 = session or uuid.uuid4().hex, v1
        self._opened = contextlib.ExitStack()
        opening = connect(
            f"{server.ws_url}api/kernels/{kernel_id}/channels?session_id={self.session}&token={server.token}",
            subprotocols=[SUBPROTOCOL] if v1 else None,  # type: ignore[list-item]
            max_size=None,
            proxy=None,
        )
        self._socket: ClientConnection = self._opened.enter_context(opening)
        self.seen: list[dict[str, Any]] = []

    def ask(self, msg_type: str, content: dict[str, Any], *, channel: str = "shell") -> str:
        header = {"msg_id": uuid.uuid4().hex, "msg_type": msg_type, "session": self.session, "version": "5.3"}
        header |= {"username": "", "date": "2026-11-24T00:00:00Z"}
        if self._v1:
            self._socket.send(encode_frame(channel, [json.dumps(part).encode() for part in (header, {}, {}, content)]))
        else:
            document = {"channel": channel, "header": header, "parent_header": {}, "metadata": {}, "content": content}
            self._socket.send(json.dumps(document))
        return header["msg_id"]

    def run(self, code: str) -> str:
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": True, "stop_on_error": True}
        return self.ask("execute_request", content)

    def read(self) -> dict[str, Any]:
        data = self._socket.recv(timeout=30)
        if isinstance(data, bytes):
            frame = decode_frame(data)
            parts = [json.loads(part) for part in (frame.header, frame.parent_header, frame.content)]
            channel = frame.channel
        else:
            document = json.loads(data)
            parts, channel = [document[name] for name in ("header", "parent_header", "content")], document["channel"]
        message = {
            "channel": channel,
            "type": parts[0]["msg_type"],
            "parent": parts[1].get("msg_id"),
            "content": parts[2],
        }
        self.seen.append(message)
        return message

    def finish(self, request: str) -> list[dict[str, Any]]:
        """Read until a request has its reply and its idle; returns what belongs to it."""

        def types() -> list[str]:
            return [
                message["content"].get("execution_state", "status") if message["type"] == "status" else message["type"]
                for message in self.seen
                if message["parent"] == request
            ]

        while "idle" not in types() or not any(kind.endswith("_reply") for kind in types()):
            self.read()
        return [message for message in self.seen if message["parent"] == request]

    def text(self, request: str) -> str:
        return "".join(message["content"]["text"] for message in self.finish(request) if message["type"] == "stream")

    def close(self) -> None:
        self._opened.close()


@pytest.fixture
def kernel(server: Server) -> Iterator[str]:
    with server.client() as http:
        kernel_id = http.post("api/kernels", json={"name": server.kernel}).json()["id"]
        yield kernel_id
        http.delete(f"api/kernels/{kernel_id}")


def state(server: Server, kernel_id: str) -> str:
    kernels = json.loads(perijove(server.environment, "status", "--json"))["kernels"]
    return next((str(kernel["state"]) for kernel in kernels if kernel["id"] == kernel_id), "gone")


@pytest.mark.parametrize("v1", [True, False])
def test_a_notebooks_way_through_both_framings(server: Server, kernel: str, v1: bool) -> None:
    with contextlib.closing(FrontEnd(server, kernel, v1=v1)) as front_end:
        info = front_end.finish(front_end.ask("kernel_info_request", {}))
        assert info[1]["content"]["status"] == "ok"
        assert state(server, kernel) == "detached"
        cell = front_end.run("input('name? ')")
        while front_end.read()["type"] != "input_request":
            pass
        front_end.ask("input_reply", {"value": "Ada"}, channel="stdin")
        messages = front_end.finish(cell)
        (result,) = [message for message in messages if message["type"] == "execute_result"]
        assert result["content"]["data"]["text/plain"] == "'Ada'"
        assert state(server, kernel) == "attached"


def test_two_front_ends_see_all_output_and_each_its_own_replies(server: Server, kernel: str) -> None:
    with contextlib.closing(FrontEnd(server, kernel)) as one, contextlib.closing(FrontEnd(server, kernel)) as other:
        cell = one.run("print('seen by both')")
        assert one.text(cell) == "seen by both\n"
        answered = other.run("1")
        other.finish(answered)
        told = [message for message in other.seen if message["parent"] == cell]
        assert "seen by both\n" in [message["content"].get("text") for message in told]
        assert all(message["channel"] == "iopub" for message in told)


def test_a_cell_goes_on_and_its_front_end_finds_all_of_it_when_it_comes_back(server: Server, kernel: str) -> None:
    front_end = FrontEnd(server, kernel)
    cell = front_end.run("import time\nfor i in range(8):\n    print(i, flush=True)\n    time.sleep(0.2)")
    while front_end.read()["type"] != "stream":
        pass
    front_end.close()
    wait_until(lambda: connections(server, kernel) == 0)
    again = FrontEnd(server, kernel, session=front_end.session)
    again.seen = front_end.seen
    with contextlib.closing(again):
        assert again.text(cell) == "".join(f"{i}\n" for i in range(8))


def test_a_reader_that_pauses_gets_every_display(server: Server, kernel: str) -> None:
    with contextlib.closing(FrontEnd(server, kernel)) as front_end:
        cell = front_end.run(
            "from IPython.display import display\nfor i in range(5000): display({'text/plain': str(i)}, raw=True)"
        )
        wait_until(lambda: busy(server, kernel))
        messages = front_end.finish(cell)
        shown = [message["content"]["data"]["text/plain"] for message in messages if message["type"] == "display_data"]
        assert shown == [str(i) for i in range(5000)]


def test_a_large_display_comes_whole(server: Server, kernel: str) -> None:
    with contextlib.closing(FrontEnd(server, kernel)) as front_end:
        cell = front_end.run("from IPython.display import display\ndisplay({'text/plain': 'x' * 50_000_000}, raw=True)")
        (shown,) = [message for message in front_end.finish(cell) if message["type"] == "display_data"]
        assert len(shown["content"]["data"]["text/plain"]) == 50_000_000


def test_interrupts_and_restarts_over_rest(server: Server, kernel: str) -> None:
    with contextlib.closing(FrontEnd(server, kernel)) as front_end, server.client() as http:
        cell = front_end.run("kept = 1\nimport time\ntime.sleep(60)")
        while front_end.read()["type"] != "execute_input":
            pass
        assert http.post(f"api/kernels/{kernel}/interrupt").status_code == 204
        assert "KeyboardInterrupt" in [message["content"].get("ename") for message in front_end.finish(cell)]
        assert http.post(f"api/kernels/{kernel}/restart").status_code == 200
        cell = front_end.run("kept")
        messages = front_end.finish(cell)
        (error,) = [message["content"] for message in messages if message["type"] == "error"]
        assert error["ename"] == "NameError"
        (told,) = [message["content"] for message in messages if message["type"] == "execute_input"]
        assert told["execution_count"] == 1


def test_the_gpu_goes_back_when_the_last_front_end_has_left_and_comes_with_the_variables(
    server: Server, kernel: str
) -> None:
    front_end = FrontEnd(server, kernel)
    front_end.finish(front_end.run("kept = 41"))
    front_end.close()
    wait_until(lambda: state(server, kernel) == "suspended", within_s=40)
    with contextlib.closing(FrontEnd(server, kernel)) as again:
        messages = again.finish(again.run("kept + 1"))
        (result,) = [message for message in messages if message["type"] == "execute_result"]
        assert result["content"]["data"]["text/plain"] == "42"


def test_a_kernel_of_another_program_is_refused(server: Server, kernel: str) -> None:
    with contextlib.closing(FrontEnd(server, kernel)):
        url = f"{server.ws_url}api/kernels/{kernel}/link"
        headers = {"Authorization": f"Bearer {server.token}"}
        with pytest.raises(InvalidStatus, match="409"), connect(url, additional_headers=headers, proxy=None):
            pass


def connections(server: Server, kernel_id: str) -> int:
    with server.client() as http:
        return int(http.get(f"api/kernels/{kernel_id}").json()["connections"])


def busy(server: Server, kernel_id: str) -> bool:
    with server.client() as http:
        return bool(http.get(f"api/kernels/{kernel_id}").json()["execution_state"] == "busy")


def test_a_months_budget_is_set_at_the_brokers_door(server: Server, kernel: str) -> None:
    with contextlib.closing(FrontEnd(server, kernel)) as front_end:
        assert "of $30.00 left, $0.0000 spent" in front_end.text(front_end.run("%gpu budget month 30"))
        shown = front_end.text(front_end.run("%gpu budget"))
        assert "(set by you)" in shown
        assert "no budget" in front_end.text(front_end.run("%gpu budget month none"))
        assert state(server, kernel) == "detached", "that takes no GPU"
