"""Signatures: only who has the key is heard, and once. jupyter_client's own Session is the other side."""

from __future__ import annotations

import json

import pytest
from jupyter_client.session import Session
from perijove.kernel.signing import DELIMITER, RefusedMessage, Signer
from perijove.wire.jupyter_frames import JupyterFrame

KEY = b"a key that both sides have"
HEADER = b'{"msg_id":"1","msg_type":"stream","version":"5.5"}'
FRAME = JupyterFrame("iopub", HEADER, b"{}", b"{}", '{"text":"grün"}'.encode(), (b"\0\1", b""))


def sent(key: bytes = KEY, scheme: str = "hmac-sha256", **content: object) -> list[bytes]:
    session = Session(key=key, signature_scheme=scheme)
    return list(session.serialize(session.msg("execute_request", content), ident=[b"who"]))


@pytest.mark.parametrize("scheme", ["hmac-sha256", "hmac-sha512", "hmac-md5"])
def test_what_jupyter_client_signs_is_taken_as_it_is(scheme: str) -> None:
    message = sent(scheme=scheme, code="1 + 1")
    client, frame = Signer(KEY, scheme).opened("shell", [*message, b"a buffer"])
    assert client == (b"who",)
    assert frame.parts == (*message[3:7], b"a buffer")
    assert frame.channel == "shell"


def test_jupyter_client_takes_what_we_sign() -> None:
    parts = [bytes(part) for part in Signer(KEY, "hmac-sha256").signed(FRAME)]
    session = Session(key=KEY)
    _, parts = session.feed_identities(parts)
    message = session.deserialize(parts)
    assert message["content"] == {"text": "grün"}
    assert [bytes(buffer) for buffer in message["buffers"]] == [b"\0\1", b""]


def test_bytes_of_the_content_are_not_re_encoded() -> None:
    frame = JupyterFrame("shell", b"{}", b"{}", b"{}", b'{"b": 1,   "a":2.50}')
    assert Signer(KEY, "hmac-sha256").signed(frame)[-1] == b'{"b": 1,   "a":2.50}'


def test_another_key_is_refused() -> None:
    with pytest.raises(RefusedMessage, match="this kernel's key"):
        Signer(b"another", "hmac-sha256").opened("shell", sent())


@pytest.mark.parametrize("at", range(3, 7))
def test_a_changed_part_is_refused(at: int) -> None:
    message = sent(code="1")
    message[at] = json.dumps({"changed": True}).encode()
    with pytest.raises(RefusedMessage, match="this kernel's key"):
        Signer(KEY, "hmac-sha256").opened("shell", message)


def test_an_unsigned_message_is_refused_where_there_is_a_key() -> None:
    with pytest.raises(RefusedMessage, match="this kernel's key"):
        Signer(KEY, "hmac-sha256").opened("shell", sent(key=b""))


def test_a_repeat_is_refused() -> None:
    signer, message = Signer(KEY, "hmac-sha256"), sent(code="pay()")
    signer.opened("shell", message)
    with pytest.raises(RefusedMessage, match="repeats"):
        signer.opened("control", message)


def test_an_empty_key_means_no_signatures() -> None:
    signer, message = Signer(b"", "hmac-sha256"), sent(key=b"", code="1")
    assert signer.opened("shell", message)[0] == (b"who",)
    assert signer.opened("shell", message)[0] == (b"who",)
    assert signer.signed(FRAME)[:2] == [DELIMITER, b""]


@pytest.mark.parametrize("message", [[], [b"x"], [DELIMITER], [DELIMITER, b"", b"{}", b"{}", b"{}"]])
def test_torn_messages_are_refused(message: list[bytes]) -> None:
    with pytest.raises(RefusedMessage):
        Signer(b"", "hmac-sha256").opened("shell", message)


@pytest.mark.parametrize("scheme", ["sha256", "hmac-", "hmac-nothing", "rsa-sha256"])
def test_an_unknown_scheme_is_told(scheme: str) -> None:
    with pytest.raises(ValueError, match="hmac-sha256"):
        Signer(KEY, scheme)
