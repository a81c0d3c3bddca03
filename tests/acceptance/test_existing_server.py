"""What VS Code asks an "Existing Jupyter Server", request by request, of the broker.

The sequence is that of the Jupyter extension 2026.6, read in its source and seen on the wire; VS Code itself is not
run here.
"""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from perijove.wire.jupyter_frames import SUBPROTOCOL, decode_frame, encode_frame
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from .jupyter_servers import Server, broker
from .observing import held_gpus, wait_until

HIDDEN = [
    "try:\n    import ipywidgets\n    print(ipywidgets.__version__)\nexcept ImportError:\n    pass",
    "%config Completer.use_jedi = False",
    "__vsc_ipynb_file__ = 'notebook.ipynb'",
]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with broker(Path(tempfile.mkdtemp(prefix="pj-"))) as server:
        yield server


def test_the_probes_before_a_password_is_asked_for(server: Server) -> None:
    with httpx.Client(base_url=server.url, trust_env=False) as nobody:
        assert nobody.get("", follow_redirects=True).status_code == 200
        assert nobody.get("tree?").status_code in (200, 404)  # anything else makes it ask for a password
        assert nobody.get("lab?").status_code in (200, 404)
        assert nobody.get("login", params={"next": "/"}).status_code in (200, 404)
        for path in ("api/kernels", "api/kernelspecs", "api/sessions"):
            assert nobody.get(path).status_code in (401, 403)
        assert "_xsrf" not in nobody.cookies


def test_a_wrong_token_is_refused(server: Server) -> None:
    with server.client() as http, httpx.Client(base_url=server.url, trust_env=False) as nobody:
        assert http.get("api/kernels").json() == []
        assert nobody.get("api/kernels", headers={"Authorization": "token wrong"}).status_code in (401, 403)
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{server.ws_url}api/kernels/{uuid.uuid4()}/channels?token=wrong", subprotocols=[SUBPROTOCOL])
    assert refused.value.response.status_code in (401, 403)


def test_a_notebook(server: Server) -> None:
    with server.client() as http:
        specs = http.get("api/kernelspecs").json()
        assert specs["kernelspecs"][server.kernel]["spec"]["display_name"] == "GPU · H100"
        wanted = {
            "path": f"notebook-{uuid.uuid4()}.ipynb",
            "name": "notebook.ipynb",
            "type": "notebook",
            "kernel": {"name": server.kernel},
        }
        # VS Code's client sends JSON as plain text, as browsers do with a string
        made = http.post("api/sessions", content=json.dumps(wanted), headers={"Content-Type": "text/plain"})
        assert made.status_code == 201
        session = made.json()
        kernel = session["kernel"]["id"]
        assert (session["path"], session["kernel"]["name"]) == (wanted["path"], server.kernel)
        assert [found["id"] for found in http.get("api/sessions").json()] == [session["id"]]

        address = f"{server.ws_url}api/kernels/{kernel}/channels?session_id={uuid.uuid4()}&token={server.token}"
        with connect(address, subprotocols=[SUBPROTOCOL], max_size=None) as socket:
            assert socket.subprotocol == SUBPROTOCOL
            front_end = FrontEnd(socket)
            assert front_end.ask("shell", "kernel_info_request", {})["language_info"]["name"] == "python"
            for code in HIDDEN:
                reply = front_end.execute(code, store_history=False)
                assert reply["status"] == "ok"
            front_end.ask("shell", "complete_request", {"code": "impo", "cursor_pos": 4})
            assert held_gpus(server.environment) == 0
            assert front_end.execute("print(__vsc_ipynb_file__); 6 * 7")["execution_count"] == 1
            assert (front_end.printed, front_end.result) == ("notebook.ipynb\n", "42")
            assert http.get(f"api/kernels/{kernel}").json()["connections"] == 1

            cell = front_end.send("shell", "execute_request", execution("import time; print('on'); time.sleep(60)"))
            front_end.wait_for(lambda channel, kind, parent, content: content.get("text") == "on\n")
            assert http.post(f"api/kernels/{kernel}/interrupt").status_code == 204
            assert front_end.reply_to(cell)["ename"] == "KeyboardInterrupt"

        # Closing a notebook shuts nothing down; opening it again finds its session.
        assert http.post(f"api/kernels/{kernel}/restart").json()["id"] == kernel
        with connect(address, subprotocols=[SUBPROTOCOL], max_size=None) as socket:
            assert FrontEnd(socket).execute("__vsc_ipynb_file__ = 1; 1")["status"] == "ok"
        assert http.delete(f"api/sessions/{session['id']}").status_code == 204
        assert http.get(f"api/kernels/{kernel}").status_code == 404
    wait_until(lambda: held_gpus(server.environment) == 0)


def test_widgets_of_packages_that_are_installed_here(server: Server) -> None:
    with httpx.Client(base_url=server.url, trust_env=False) as http:
        extension = http.get("nbextensions/anywidget/extension.js")
        assert extension.status_code == 200
        assert "javascript" in extension.headers["content-type"]
        assert http.get("nbextensions/no_such_package/extension.js").status_code == 404


def execution(code: str, *, store_history: bool = True) -> dict[str, Any]:
    return {
        "code": code,
        "silent": False,
        "store_history": store_history,
        "user_expressions": {},
        "allow_stdin": True,
        "stop_on_error": True,
    }


class FrontEnd:
    """One WebSocket in the v1 framing."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._session = uuid.uuid4().hex
        self.printed = ""
        self.result = ""

    def send(self, channel: str, kind: str, content: dict[str, Any]) -> str:
        """The id of the message that was sent."""
        msg_id = uuid.uuid4().hex
        header = {
            "msg_id": msg_id,
            "msg_type": kind,
            "session": self._session,
            "username": "user",
            "date": "2026-11-24T00:00:00.000Z",
            "version": "5.3",
        }
        self._socket.send(encode_frame(channel, [json.dumps(part).encode() for part in (header, {}, {}, content)]))
        return msg_id

    def wait_for(self, wanted: Any) -> dict[str, Any]:
        """The content of the first message that is wanted; streams and results on the way are kept."""
        while True:
            message = self._socket.recv(timeout=30)
            assert isinstance(message, bytes)
            frame = decode_frame(message)
            header, parent, content = (json.loads(part) for part in (frame.header, frame.parent_header, frame.content))
            kind = header["msg_type"]
            if kind == "stream":
                self.printed += content["text"]
            elif kind == "execute_result":
                self.result = content["data"]["text/plain"]
            if wanted(frame.channel, kind, parent.get("msg_id"), content):
                return dict(content)

    def reply_to(self, msg_id: str) -> dict[str, Any]:
        """The reply; by then the request's ``idle`` may still be on its way."""
        return self.wait_for(lambda channel, _, parent, __: channel != "iopub" and parent == msg_id)

    def ask(self, channel: str, kind: str, content: dict[str, Any]) -> dict[str, Any]:
        return self.reply_to(self.send(channel, kind, content))

    def execute(self, code: str, *, store_history: bool = True) -> dict[str, Any]:
        """Until both the reply and ``idle`` are there."""
        self.printed = self.result = ""
        msg_id = self.send("shell", "execute_request", execution(code, store_history=store_history))
        seen: dict[str, dict[str, Any]] = {}

        def both(channel: str, kind: str, parent: str, content: dict[str, Any]) -> bool:
            if parent == msg_id and kind == "execute_reply":
                seen["reply"] = content
            elif parent == msg_id and content.get("execution_state") == "idle":
                seen["idle"] = content
            return len(seen) == 2

        self.wait_for(both)
        return seen["reply"]
