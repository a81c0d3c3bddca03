"""The embedded broker: one broker and agent per user, started on first use, shared by notebooks, gone when unused.

Five notebooks that open at once start it once: whoever gets the lock starts it, the others find it running. It is a
process of its own (``perijove up --embedded``), so it outlives the notebook that was first, and a killed broker is
started again by the next one that misses it.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
from filelock import FileLock, Timeout

from ..wire.errors import BrokerUnreachable
from .address import BrokerAddress, data_directory

START_TIMEOUT_S = 60.0
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class EmbeddedFiles:
    """Where the embedded broker keeps what others need to find it; the directory is this user's alone."""

    directory: Path

    @property
    def lock(self) -> Path:
        return self.directory / "start.lock"

    @property
    def ready(self) -> Path:
        return self.directory / "broker.json"

    @property
    def token(self) -> Path:
        return self.directory / "token"

    @property
    def log(self) -> Path:
        return self.directory / "perijove.log"


def embedded_files(environ: Mapping[str, str] = os.environ) -> EmbeddedFiles:
    directory = data_directory(environ) / "embedded"
    directory.mkdir(mode=0o700, exist_ok=True)
    return EmbeddedFiles(directory)


async def ensure_embedded(environ: Mapping[str, str] = os.environ) -> BrokerAddress:
    """The address of this user's embedded broker, which is started if it does not run.

    Raises:
        BrokerUnreachable: when it cannot be started, with the end of its log.
    """
    files = embedded_files(environ)
    if (address := await running_embedded(files)) is not None:
        return address
    return await asyncio.to_thread(_start_under_lock, files, dict(environ))


async def running_embedded(files: EmbeddedFiles) -> BrokerAddress | None:
    """The address of the embedded broker if it runs and answers."""
    address = _written_address(files)
    if address is None:
        return None
    try:
        async with httpx.AsyncClient(timeout=5.0, trust_env=False, verify=False) as http:  # noqa: S501 - see _answers
            answer = await http.get(f"{address.url}/healthz")
    except httpx.TransportError:
        return None
    return address if answer.is_success else None


def _written_address(files: EmbeddedFiles) -> BrokerAddress | None:
    try:
        document = json.loads(files.ready.read_text("utf-8"))
        return BrokerAddress(str(document["url"]), files.token.read_text("utf-8").strip(), embedded=True)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _answers(files: EmbeddedFiles) -> BrokerAddress | None:
    address = _written_address(files)
    if address is None:
        return None
    try:
        # The embedded broker speaks plain HTTP on loopback; loading the certificates of the web would take 50 ms.
        answer = httpx.get(f"{address.url}/healthz", timeout=5.0, trust_env=False, verify=False)  # noqa: S501
    except httpx.TransportError:
        return None
    return address if answer.is_success else None


def _start_under_lock(files: EmbeddedFiles, environ: dict[str, str]) -> BrokerAddress:
    deadline = time.monotonic() + START_TIMEOUT_S
    try:
        with FileLock(files.lock, timeout=START_TIMEOUT_S, mode=0o600):
            if (address := _answers(files)) is not None:
                return address
            files.ready.unlink(missing_ok=True)
            process = _spawn(files, environ)
            while time.monotonic() < deadline:
                if (address := _answers(files)) is not None:
                    return address
                if process.poll() is not None:
                    raise BrokerUnreachable(f"the embedded broker did not start: {_last_words(files)}")
                time.sleep(POLL_S)
    except Timeout:
        raise BrokerUnreachable(
            f"another process has been starting the embedded broker for over {START_TIMEOUT_S:.0f} s; see {files.log}"
        ) from None
    process.terminate()
    raise BrokerUnreachable(f"the embedded broker was not ready within {START_TIMEOUT_S:.0f} s; see {files.log}")


def _spawn(files: EmbeddedFiles, environ: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start ``perijove up`` on its own: in a session of its own, so that no terminal's Ctrl-C reaches it."""
    log = os.open(files.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "perijove.cli", "up", "--embedded"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=environ,
            cwd=files.directory,
        )
    finally:
        os.close(log)


def _last_words(files: EmbeddedFiles) -> str:
    try:
        lines = files.log.read_text("utf-8", "replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else f"it said nothing; see {files.log}"
