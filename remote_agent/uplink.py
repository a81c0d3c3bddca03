"""The control link: hello, welcome, commands, renewals; dialled again for as long as the agent lives.

The broker may be killed and come back on the same address: kernels and their cells go on meanwhile, and the next
Hello says all there is. What must not get lost (a release, an end) waits here for the next Welcome.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from pydantic import ValidationError
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI, WebSocketException

from .. import __version__
from ..wire.control import (
    Bind,
    End,
    Ended,
    FromAgent,
    FromBroker,
    Hello,
    Limit,
    ProcessEnded,
    Refused,
    Release,
    Released,
    Renew,
    Renewed,
    Restart,
    Welcome,
    from_broker,
)
from ..wire.errors import IncompatibleVersion, NotAuthorized
from ..wire.usage import Usage
from ..wire.versions import USAGE_SINCE_MINOR, check_compatible
from .boot_clock import Clock
from .dialing import Dial
from .errors import AgentRefused, BrokerStayedAway
from .kernels import Kernels

_PATH = "api/agents/link"
_WELCOME_TIMEOUT_S = 20.0
_FIRST_RETRY_S = 0.1
_LONGEST_RETRY_S = 5.0
_FINAL_REFUSALS = frozenset({IncompatibleVersion.code, NotAuthorized.code})
_NS_PER_S = 1_000_000_000
log = structlog.get_logger("perijove.agent")


class Uplink:
    """``hello`` makes the first message of each connection; ``start`` runs a command, which outlives its connection."""

    def __init__(
        self,
        dial: Dial[ClientConnection],
        clock: Clock,
        hello: Callable[[], Hello],
        start: Callable[[Coroutine[Any, Any, None]], None],
        exit_without_broker_s: float | None,
    ) -> None:
        self._dial = dial
        self._start = start
        self._clock = clock
        self._hello = hello
        self._exit_without_broker_s = exit_without_broker_s
        self._outgoing: asyncio.Queue[FromAgent] | None = None
        self._lasting: deque[FromAgent] = deque()
        self._shows = False  # whether the broker knows what to do with usage
        self._last_contact_ns = clock()

    def say(self, message: FromAgent) -> None:
        """Send, if the broker is there; after a reconnection Hello says the same."""
        if self._outgoing is not None:
            self._outgoing.put_nowait(message)

    def show(self, usage: Usage) -> None:
        """Send what people look at, if the broker takes it and has taken what was said before: never pile it up."""
        if self._outgoing is not None and self._shows and self._outgoing.empty():
            self._outgoing.put_nowait(usage)

    @property
    def wants_usage(self) -> bool:
        return self._outgoing is not None and self._shows

    def say_surely(self, message: FromAgent) -> None:
        """Send now or after the next Welcome."""
        if self._outgoing is not None:
            self._outgoing.put_nowait(message)
        else:
            self._lasting.append(message)

    async def run(self, kernels: Kernels) -> None:
        """Stay connected until cancelled.

        Raises:
            AgentRefused: when the broker will not have this agent.
            BrokerStayedAway: when it was away for longer than ``exit_without_broker_s``.
        """
        retry_s = _FIRST_RETRY_S
        while True:
            try:
                async with self._dial(_PATH) as connection:
                    await self._serve(connection, kernels)
                retry_s = _FIRST_RETRY_S
            except InvalidStatus as error:
                status = error.response.status_code
                if status in (401, 403):
                    raise AgentRefused(
                        "the broker does not accept this agent's token; make one: perijove token create --role agent"
                    ) from None
                log.debug("broker refused the link", status=status)
            except (OSError, TimeoutError, InvalidHandshake, InvalidURI, WebSocketException, ValidationError) as error:
                log.debug("broker not reached", error=str(error))
            self._check_absence()
            await asyncio.sleep(retry_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            retry_s = min(2 * retry_s, _LONGEST_RETRY_S)

    def _check_absence(self) -> None:
        if self._exit_without_broker_s is None:
            return
        away_s = (self._clock() - self._last_contact_ns) / _NS_PER_S
        if away_s > self._exit_without_broker_s:
            raise BrokerStayedAway(f"the broker has been away for {away_s:.0f} s")

    async def _serve(self, connection: ClientConnection, kernels: Kernels) -> None:
        welcome = await self._greet(connection)
        self._last_contact_ns = self._clock()
        outgoing: asyncio.Queue[FromAgent] = asyncio.Queue()
        while self._lasting:
            outgoing.put_nowait(self._lasting.popleft())
        self._outgoing = outgoing
        self._shows = welcome.protocol.minor >= USAGE_SINCE_MINOR
        log.info("connected to broker", version=welcome.version)
        helpers = [
            asyncio.create_task(self._write(connection, outgoing)),
            asyncio.create_task(self._renew(kernels, outgoing, welcome.renew_every_s)),
        ]
        self._start(kernels.keep_only(set(welcome.keep)))
        try:
            async for text in connection:
                self._last_contact_ns = self._clock()
                self._receive(from_broker.validate_json(text), kernels)
        finally:
            self._outgoing = None
            kernels.allowances.connection_lost()
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            self._keep_unsent(outgoing)

    def _keep_unsent(self, outgoing: asyncio.Queue[FromAgent]) -> None:
        while not outgoing.empty():
            message = outgoing.get_nowait()
            if isinstance(message, Released | ProcessEnded | Ended):
                self._lasting.append(message)

    async def drained(self, timeout_s: float) -> None:
        """Give what was said last a moment to be sent."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                if self._outgoing is not None:
                    await self._outgoing.join()

    async def _greet(self, connection: ClientConnection) -> Welcome:
        await connection.send(self._hello().model_dump_json())
        async with asyncio.timeout(_WELCOME_TIMEOUT_S):
            answer = from_broker.validate_json(await connection.recv())
        if isinstance(answer, Refused):
            self._refused(answer)
            raise ConnectionError(answer.message)
        if not isinstance(answer, Welcome):
            raise ConnectionError(f"the broker answered a hello with {answer.type}")
        try:
            check_compatible(answer.protocol, who="the broker", program_version=__version__)
        except IncompatibleVersion as error:
            raise AgentRefused(str(error)) from None
        return answer

    def _refused(self, refusal: Refused) -> None:
        if refusal.code in _FINAL_REFUSALS:
            raise AgentRefused(f"the broker refused this agent: {refusal.message}")
        log.warning("refused", code=refusal.code, message=refusal.message)

    def _receive(self, message: FromBroker, kernels: Kernels) -> None:
        match message:
            case Bind():
                self._start(kernels.bind(message))
            case Release():
                self._start(kernels.release(message))
            case Restart():
                self._start(kernels.restart(message))
            case End():
                self._start(kernels.end(message))
            case Renewed():
                unknown = kernels.allowances.renewed(message.allowances_s)
                kernels.limit({lease_id: message.limits_ms.get(lease_id) for lease_id in message.allowances_s})
                kernels.new_allowance.set()
                if unknown:
                    self._start(kernels.enforce(unknown))
            case Limit():
                kernels.limit({message.lease_id: message.limit_ms})
            case Refused():
                self._refused(message)
            case Welcome():
                pass

    async def _renew(self, kernels: Kernels, outgoing: asyncio.Queue[FromAgent], every_s: float) -> None:
        while True:
            reports = kernels.lease_reports()
            outgoing.put_nowait(Renew(leases=reports))
            kernels.allowances.renewal_sent(frozenset(report.lease_id for report in reports), self._clock())
            await asyncio.sleep(every_s)

    async def _write(self, connection: ClientConnection, outgoing: asyncio.Queue[FromAgent]) -> None:
        while True:
            await connection.send((await outgoing.get()).model_dump_json())
            outgoing.task_done()
