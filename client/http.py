"""The broker's HTTP API, typed. One error message for each way in which it can say no."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from ..wire.errors import BrokerError, BrokerUnreachable, KernelNotFound, NotAuthorized, from_code
from ..wire.models import Bill, BudgetScope, By, SetBy, UserLimits
from ..wire.money import nanodollars_to_text
from .address import BrokerAddress

TIMEOUT_S = 20.0


class BrokerClient:
    """Calls to one broker; an async context manager."""

    def __init__(self, address: BrokerAddress) -> None:
        self.address = address
        self._http = httpx.AsyncClient(
            base_url=address.url,
            headers=address.headers,
            timeout=TIMEOUT_S,
            trust_env=False,
            # Plain HTTP verifies nothing, and loading the certificates for it would take 50 ms each time.
            verify=not address.url.lower().startswith("http:"),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def create_kernel(self, name: str, gpu_spec: str, **wishes: Any) -> str:
        """Make a kernel, detached and free; returns its id. ``wishes`` go into the request's ``perijove`` object."""
        body = {"name": name, "perijove": {"gpu": gpu_spec, **{k: v for k, v in wishes.items() if v is not None}}}
        return str((await self._call("POST", "/api/kernels", json=body))["id"])

    async def gpus(self) -> list[dict[str, Any]]:
        """Every GPU of every agent with state and price, as ``GET /api/gpus`` says."""
        document = await self._call("GET", "/api/gpus")
        return list(document["gpus"] if isinstance(document, dict) else document)

    async def status(self) -> dict[str, Any]:
        return dict(await self._call("GET", "/api/status"))

    async def bill(
        self,
        since: str | None = None,
        kernels: Sequence[str] | None = None,
        *,
        until: str | None = None,
        by: By | None = None,
    ) -> Bill:
        """The bill, of the given kernels only if given. ``since``, ``until``: ISO 8601, UTC; leases are clipped to it.

        A broker before protocol 1.4 knows no ``by``: its bill has no groups then.

        Raises:
            BrokerError: when ``until`` is given, and the broker does not know it either.
        """
        if kernels is not None and not kernels:
            return Bill(total_nanodollars=0, simulated_nanodollars=0, by=by)
        asked = {"since": since, "until": until, "by": by, "kernel": None if kernels is None else list(kernels)}
        params = {name: value for name, value in asked.items() if value is not None}
        bill = Bill.model_validate(await self._call("GET", "/api/bill", params=params))
        if until is not None and not bill.as_of:
            raise BrokerError(
                f"the broker at {self.address.url} is too old for a bill that ends at {until}; upgrade it"
            )
        return bill if kernels is None else bill.of_kernels(kernels)

    async def limits(self, user: str | None = None) -> UserLimits:
        """What one may spend oneself, or a user that an admin names."""
        name = user or await self._own_name()
        document = await self._call("GET", "/api/limits", params={"user": name})
        return UserLimits.model_validate(document["users"][0])

    async def everybodys_limits(self) -> list[UserLimits]:
        """An admin's token shows all users', another its own."""
        document = await self._call("GET", "/api/limits")
        return [UserLimits.model_validate(user) for user in document["users"]]

    async def set_limit(
        self, scope: BudgetScope, nanodollars: int | None, user: str | None = None, set_by: SetBy | None = None
    ) -> UserLimits:
        """Set what one may spend oneself, or what an admin lets a user spend; None removes the limit."""
        name = user or await self._own_name()
        dollars = None if nanodollars is None else nanodollars_to_text(nanodollars)
        body = {"scope": scope.value, "dollars": dollars, **({"set_by": set_by.value} if set_by else {})}
        path = f"/api/limits/{quote(name, safe='')}"
        return UserLimits.model_validate(await self._call("PUT", path, json=body))

    async def _own_name(self) -> str:
        return str((await self._call("GET", "/api/me"))["identity"]["name"])

    async def audit(self, since: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """The newest entries of the audit log, the oldest of them first; an admin's token shows everybody's."""
        params: dict[str, str | int] = {"limit": limit, **({"since": since} if since else {})}
        document = await self._call("GET", "/api/audit", params=params)
        return list(reversed(document["entries"]))

    async def drain(self, agent_id: str, within_s: float | None = None) -> dict[str, Any]:
        """Have an agent take no new leases; answers with the agent's document. For admins."""
        return dict(await self._call("POST", _drain_of(agent_id), json={"within_s": within_s}))

    async def undo_drain(self, agent_id: str) -> dict[str, Any]:
        return dict(await self._call("DELETE", _drain_of(agent_id)))

    async def release(self, kernel_id: str) -> None:
        """Give a kernel's GPU back, or stop its waiting for one, as ``%gpu release`` does."""
        await self._call("POST", f"/api/kernels/{kernel_id}/release")

    async def _call(self, method: str, path: str, **options: Any) -> Any:
        try:
            response = await self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise BrokerUnreachable(
                f"the broker at {self.address.url} does not answer ({type(error).__name__}); "
                "is it running, and is the address right? `perijove doctor` looks for you"
            ) from error
        if response.is_success:
            return response.json() if response.content else None
        raise _refusal(response, self.address.url)


def _drain_of(agent_id: str) -> str:
    return f"/api/agents/{quote(agent_id, safe='')}/drain"


def _refusal(response: httpx.Response, url: str) -> Exception:
    """The error in a response: ours if it carries a code, else one by status."""
    try:
        document = response.json()
    except ValueError:
        document = {}
    if not isinstance(document, dict):
        document = {}
    message = str(document.get("message") or response.reason_phrase)
    if "code" in document:
        return from_code(str(document["code"]), message)
    if response.status_code in (401, 403):
        return NotAuthorized(f"the broker at {url} does not accept this token: {message}")
    if response.status_code == 404:
        return KernelNotFound(f"the broker at {url} answers: {message}")
    return BrokerError(f"the broker at {url} answered {response.status_code}: {message}")
