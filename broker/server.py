"""Running a broker: listening, telling that it does, and stopping cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog
import uvicorn

from .. import __version__
from ..wire import tracing
from ..wire.envelope import MAX_MESSAGE_BYTES
from ..wire.ids import new_id
from .app import make_app
from .broker import Broker
from .errors import SettingsError
from .ledger.database import open_database
from .ledger.ledger import Ledger
from .ledger.tokens import Role
from .ledger.tokens import create_token as create_token_row
from .logs import configure_logs
from .settings import BrokerSettings
from .telemetry.traces import Traces
from .websocket import LinkProtocol

log = structlog.get_logger(__name__)

GRACE_S = 3  # for open requests when the broker stops


async def serve(settings: BrokerSettings) -> None:
    """Run a broker until SIGTERM, SIGINT, or nobody has used it for ``exit_when_unused_s``.

    Raises:
        InsecureAddress: when it would listen off loopback without ``insecure``.
        SettingsError: when the address cannot be listened on.
        LedgerError: when the database cannot be used.
    """
    settings.check()
    configure_logs(settings.log_level)
    tracing.prepare("broker")
    listener = _listen(settings)
    try:
        ledger = await asyncio.to_thread(Ledger, settings.url_of_database)
        try:
            broker = Broker(settings, ledger, new_id, __version__)
            await broker.start()
            if (tracer := await tracing.tracer_of("broker")) is not None:
                broker.traces = Traces(tracer)
            await _run(broker, listener, settings)
            await broker.stop()
        finally:
            await asyncio.to_thread(ledger.close)
    finally:
        listener.close()


def create_token(settings: BrokerSettings, role: str, name: str) -> str:
    """Make a token in the broker's database, whether or not the broker runs. Blocks for some milliseconds."""
    engine = open_database(settings.url_of_database)
    try:
        with engine.begin() as connection:
            return create_token_row(connection, Role(role), name)
    finally:
        engine.dispose()


async def _run(broker: Broker, listener: socket.socket, settings: BrokerSettings) -> None:
    url = url_of(listener, settings.host)
    config = uvicorn.Config(
        make_app(broker),
        ws=LinkProtocol,
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        ws_ping_interval=20.0,
        ws_ping_timeout=40.0,
        access_log=False,
        log_config=None,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = _Server(config, lambda: _announce(settings.ready_file, url), broker.live.close)
    async with asyncio.TaskGroup() as tasks:
        with _signals(server.stop):
            house = tasks.create_task(broker.keep_house(when_unused=server.stop))
            try:
                await server.serve(sockets=[listener])
            except asyncio.CancelledError:
                if server.started:
                    await server.shutdown(sockets=[listener])  # uvicorn leaves its sockets open otherwise
                raise
            finally:
                house.cancel()
                _withdraw(settings.ready_file, url)


class _Server(uvicorn.Server):
    """uvicorn's server, which tells when it listens and leaves signals to us: a clean stop is no death by signal."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None], on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready, self._on_stop = on_ready, on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()  # streams end only when told, and a stop waits for them
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def stop(self) -> None:
        self.should_exit = True


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """Have SIGTERM and SIGINT stop the server, where this is the main thread."""
    loop = asyncio.get_running_loop()
    installed = []
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, stop)
            installed.append(number)
    try:
        yield
    finally:
        for number in installed:
            loop.remove_signal_handler(number)


def _listen(settings: BrokerSettings) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise SettingsError(f"the broker cannot listen on {settings.host}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"the broker cannot listen on {settings.host} port {settings.port}: {error.strerror}; "
            "choose another port, or 0 for any free one"
        ) from error
    return listener


def url_of(listener: socket.socket, host: str) -> str:
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _announce(ready_file: Path | None, url: str) -> None:
    """Say where the broker is, once it really listens; whole or not at all."""
    log.info("broker.listening", url=url)
    if ready_file is None:
        return
    ready_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = ready_file.with_name(f".{ready_file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"url": url, "pid": os.getpid(), "version": __version__}, file)
    draft.replace(ready_file)


def _withdraw(ready_file: Path | None, url: str) -> None:
    """Take the announcement back, unless another broker has already made its own."""
    if ready_file is None:
        return
    with contextlib.suppress(OSError, ValueError, KeyError):
        if json.loads(ready_file.read_text("utf-8"))["url"] == url:
            ready_file.unlink()
