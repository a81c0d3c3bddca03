"""Who may do what: tokens, roles, other users, other sites, other versions (docs/protocol.md §1)."""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from perijove.broker.errors import LedgerError
from perijove.broker.ledger import database
from perijove.broker.ledger.ledger import Ledger
from perijove.broker.server import serve
from perijove.broker.settings import BrokerSettings
from perijove.wire import control, link
from perijove.wire.errors import InsecureAddress
from perijove.wire.versions import PROTOCOL, ProtocolVersion
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from .conftest import RunningBroker
from .peers import dial

NEWER = ProtocolVersion(major=PROTOCOL.major + 1, minor=0)


async def _status_of(url: str, token: str, **headers: str) -> int:
    try:
        async with connect(
            url.replace("http", "ws", 1),
            additional_headers={"Authorization": f"Bearer {token}", **headers} if token else headers,
            proxy=None,
        ):
            return 101
    except InvalidStatus as refusal:
        return refusal.response.status_code


async def test_health_needs_no_token_and_all_else_does(broker: RunningBroker) -> None:
    async with httpx.AsyncClient(base_url=broker.url, trust_env=False) as http:
        assert (await http.get("/healthz")).json()["status"] == "ok"
        for path in ("/api/kernels", "/api/bill", "/api/gpus", "/api/agents", "/api/leases", "/api/status", "/api/me"):
            response = await http.get(path)
            assert response.status_code == 401, path
            assert response.json()["code"] == "not_authorized"
            in_address = 200 if path in ("/api/kernels", "/api/status", "/api/me") else 401  # Jupyter's routes only
            assert (await http.get(path, params={"token": broker.tokens["ada"]})).status_code == in_address, path
            assert (await http.get(path, headers={"Authorization": "Bearer wrong"})).status_code == 401
            jupyter = {"Authorization": f"token {broker.tokens['ada']}"}
            assert (await http.get(path, headers=jupyter)).status_code == 200, path


async def test_agents_have_no_business_with_kernels_and_users_none_with_agents(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel()
    assert (await broker.as_("agent").get("/api/kernels")).status_code == 403
    assert (await broker.as_("agent").post("/api/kernels", json={})).status_code == 403
    assert await _status_of(f"{broker.url}/api/kernels/{kernel_id}/link", broker.tokens["agent"]) == 403
    assert await _status_of(f"{broker.url}/api/agents/link", broker.tokens["ada"]) == 403
    assert await _status_of(f"{broker.url}/api/agents/link", broker.tokens["root"]) == 403
    assert await _status_of(f"{broker.url}/api/agents/processes/{'ab' * 16}/link", broker.tokens["ada"]) == 403


async def test_links_need_a_token_which_may_be_in_their_url(broker: RunningBroker) -> None:
    kernel_id = await broker.kernel()
    url = f"{broker.url}/api/kernels/{kernel_id}/link"
    assert await _status_of(url, "") == 401
    assert await _status_of(url, "wrong") == 401
    assert await _status_of(f"{url}?token={broker.tokens['ada']}", "") == 101
    assert await _status_of(f"{broker.url}/api/kernels/00000000-0000/link", broker.tokens["ada"]) == 404
    assert await _status_of(f"{broker.url}/api/nothing", broker.tokens["ada"]) == 404


async def test_users_see_their_own_kernels_only_and_admins_all(broker: RunningBroker) -> None:
    hers, his = await broker.kernel(user="ada"), await broker.kernel(user="bob")
    for name, visible in (("ada", {hers}), ("bob", {his}), ("root", {hers, his})):
        listed = (await broker.as_(name).get("/api/kernels")).json()
        assert {model["id"] for model in listed} == visible
        status = (await broker.as_(name).get("/api/status")).json()
        assert {kernel["id"] for kernel in status["kernels"]} == visible
    assert (await broker.as_("bob").get(f"/api/kernels/{hers}")).status_code == 404
    assert (await broker.as_("bob").delete(f"/api/kernels/{hers}")).status_code == 404
    assert await _status_of(f"{broker.url}/api/kernels/{hers}/link", broker.tokens["bob"]) == 404
    assert (await broker.as_("ada").get(f"/api/kernels/{hers}")).status_code == 200


async def test_users_see_their_own_bill_only(broker: RunningBroker) -> None:
    async with broker.agent().connected(), broker.client(await broker.kernel()).connected() as client:
        await client.attach()
        assert len((await broker.bill("ada"))["leases"]) == 1
        assert len((await broker.bill("root"))["leases"]) == 1
        assert (await broker.bill("bob"))["leases"] == []
        assert (await broker.as_("bob").get("/api/leases")).json() == []
        assert len((await broker.as_("ada").get("/api/leases")).json()) == 1


async def test_two_users_never_share_an_agent_without_isolation(broker: RunningBroker) -> None:
    agent = broker.agent()
    async with agent.connected(), broker.client(await broker.kernel("cpu")).connected() as hers:
        await hers.attach()
        async with broker.client(await broker.kernel("cpu", "bob"), "bob").connected() as his:
            waiting = asyncio.create_task(his.attach())
            view = None
            while view is None or not view.queue_reason:
                view = (await his.heard(link.State)).kernel
            assert "serves another user" in view.queue_reason
            assert "ada" not in view.queue_reason
            await hers.say(link.Goodbye())
            assert (await waiting).code == ""


async def test_only_admins_make_tokens_and_they_work_at_once(broker: RunningBroker) -> None:
    wish = {"role": "user", "name": "cleo"}
    assert (await broker.as_("ada").post("/api/tokens", json=wish)).status_code == 403
    response = await broker.as_("root").post("/api/tokens", json=wish)
    assert response.status_code == 201
    token = response.json()["token"]
    async with httpx.AsyncClient(base_url=broker.url, trust_env=False) as http:
        me = await http.get("/api/me", headers={"Authorization": f"Bearer {token}"})
        assert me.json()["identity"]["username"] == "cleo"
    data = b"".join(path.read_bytes() for path in broker.settings.data_dir.iterdir())
    assert token.encode() not in data, "only its hash is kept"


async def test_pages_of_other_sites_and_other_names_are_refused(broker: RunningBroker) -> None:
    ada = broker.as_("ada")
    assert (await ada.get("/api/kernels", headers={"Host": "evil.example"})).status_code == 403
    assert (await ada.get("/api/kernels", headers={"Origin": "http://evil.example"})).status_code == 403
    assert (await ada.get("/api/kernels", headers={"Origin": broker.url})).status_code == 200
    url = f"{broker.url}/api/kernels/{await broker.kernel()}/link"
    assert await _status_of(url, broker.tokens["ada"], Origin="http://evil.example") == 403
    cookie = {"Cookie": f"token={broker.tokens['ada']}"}
    async with httpx.AsyncClient(base_url=broker.url, trust_env=False) as http:
        assert (await http.get("/api/kernels", headers=cookie)).status_code == 401


async def test_bodies_are_bounded(broker: RunningBroker) -> None:
    response = await broker.as_("ada").post("/api/kernels", content=b"x" * (2 << 20))
    assert response.status_code == 413


async def test_another_major_version_is_refused_naming_both(broker: RunningBroker) -> None:
    url = f"{broker.url}/api/kernels/{await broker.kernel()}/link"
    async with dial(url, broker.tokens["ada"]) as connection:
        await connection.send(link.ClientHello(protocol=NEWER, version="9.9").model_dump_json())
        refused = link.to_client.validate_json(await connection.recv())
        assert isinstance(refused, link.LinkRefused)
        assert refused.code == "incompatible_version"
        assert str(NEWER) in refused.message
        assert str(PROTOCOL) in refused.message
        await asyncio.wait_for(connection.wait_closed(), 5)
    async with dial(f"{broker.url}/api/agents/link", broker.tokens["agent"]) as connection:
        hello = broker.agent().hello().model_copy(update={"protocol": NEWER})
        await connection.send(hello.model_dump_json())
        answer = control.from_broker.validate_json(await connection.recv())
        assert isinstance(answer, control.Refused)
        assert answer.code == "incompatible_version"


async def test_an_agents_name_cannot_be_taken_by_another_token(broker: RunningBroker) -> None:
    url = f"{broker.url}/api/agents/link"
    async with broker.agent().connected(), dial(url, broker.tokens["other-agent"]) as connection:
        await connection.send(broker.agent().hello().model_dump_json())
        answer = control.from_broker.validate_json(await connection.recv())
        assert isinstance(answer, control.Refused)
        assert answer.code == "not_authorized"


async def test_a_link_that_does_not_say_hello_is_closed(broker: RunningBroker) -> None:
    async with dial(f"{broker.url}/api/agents/link", broker.tokens["agent"]) as connection:
        await connection.send("{}")
        assert '"refused"' in str(await connection.recv())
        await asyncio.wait_for(connection.wait_closed(), 5)


async def test_listening_to_others_needs_to_be_said(settings: BrokerSettings) -> None:
    with pytest.raises(InsecureAddress, match="--insecure"):
        await serve(replace(settings, host="0.0.0.0"))


async def test_where_the_broker_is_is_this_users_business(broker: RunningBroker) -> None:
    assert broker.settings.ready_file is not None
    for path in (broker.settings.ready_file, broker.settings.data_dir / "ledger.db"):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


async def test_no_token_is_in_the_logs(broker: RunningBroker, capfd: pytest.CaptureFixture[str]) -> None:
    await _status_of(f"{broker.url}/api/kernels/nothing/link?token={broker.tokens['ada']}", "")
    await broker.as_("ada").get("/api/kernels")
    written = "".join(capfd.readouterr())
    assert broker.tokens["ada"] not in written


def test_a_ledger_on_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nserver:/home {tmp_path} nfs4 rw 0 0\n")
    real = database.file_system_of
    monkeypatch.setattr(database, "file_system_of", lambda path: real(path, mounts))
    with pytest.raises(LedgerError, match="network file system \\(nfs4\\)"):
        Ledger(database.default_url(tmp_path / "data"))


async def test_a_token_in_the_address_is_as_good_as_one_in_a_header(broker: RunningBroker) -> None:
    async with httpx.AsyncClient(base_url=broker.url, trust_env=False) as http:
        mine = await http.get("/api/kernels", params={"token": broker.tokens["ada"]})
        assert (mine.status_code, mine.json()) == (200, [])
        assert (await http.get("/api/kernels", params={"token": "nobody's"})).status_code == 401
        assert (await http.get("/api/kernels")).status_code == 401
