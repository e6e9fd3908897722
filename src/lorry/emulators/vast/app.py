"""The endpoints of the emulated Vast.ai."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from lorry.emulators.cloud import Cloud
from lorry.emulators.machine.lines import Reader
from lorry.emulators.rental import Rental
from lorry.emulators.vast import instances, market
from lorry.emulators.vast.instances import Refusal

Handler = Callable[[Request], Awaitable[Any]]
_PAGE = 25
_OWN = ("get", "delete", "action")


class Vast(Cloud):
    """Vast.ai's API, as its documentation and its own client tell."""

    name: ClassVar[str] = "vast"

    def dress(self, rental: Rental) -> Mapping[str, str]:
        """The variables of an instance."""
        return instances.dress(self.fleet, rental, self.base)

    def variables(self) -> dict[str, str]:
        """Address and key."""
        return {"VAST_URL": self.base, "VAST_API_KEY": self.account.key}

    def told_state(self, rental: Rental) -> str:
        """The instance's `actual_status`."""
        return str(instances.describe(self.fleet, rental)["actual_status"])

    def move(self) -> None:
        """The market: who is outbid, and whose bid wins again."""
        instances.move(self.fleet)

    def routes(self) -> Sequence[BaseRoute]:
        """Every path, with one kind of request and one handler for each method."""
        one: dict[str, tuple[str, Handler]] = {
            "GET": ("get", self._show),
            "PUT": ("action", self._change),
            "DELETE": ("delete", self._destroy),
        }
        paths: dict[str, dict[str, tuple[str, Handler]]] = {
            "/api/v0/bundles/": {"POST": ("catalog", self._search)},
            "/api/v0/asks/{id:int}/": {"PUT": ("create", self._create)},
            "/api/v0/instances/": {"GET": ("list", self._all)},
            "/api/v1/instances/": {"GET": ("list", self._page)},
            "/api/v0/instances/reboot/{id:int}/": {"PUT": ("action", self._reboot)},
            "/api/v0/instances/bid_price/{id:int}/": {"PUT": ("bid", self._bid)},
            "/api/v0/instances/request_logs/{id:int}/": {"PUT": ("logs", self._logs)},
            "/api/v0/instances/{id:int}/ssh/": {"POST": ("keys", self._attach)},
            "/api/v0/instances/{id:int}/": one,
            "/api/v0/ssh/": {"GET": ("keys", self._keys), "POST": ("keys", self._add_key)},
            "/api/v0/users/current/": {"GET": ("account", self._account)},
        }
        routes = [
            self._route(path, method, *what) for path, methods in paths.items() for method, what in methods.items()
        ]
        return [*routes, Route("/_logs/{id}", self._printed)]

    def _route(self, path: str, method: str, on: str, handler: Handler) -> Route:
        async def answer(request: Request) -> Response:
            if self.fleet.now() < self.account.down_until:
                return HTMLResponse("<html><head><title>502 Bad Gateway</title></head></html>", 502)
            try:
                self._let_in(request, on)
                await self._hinder(request, on)
                return JSONResponse(await handler(request))
            except Refusal as refusal:
                return JSONResponse(refusal.body, refusal.status, refusal.headers)

        return Route(path, answer, methods=[method])

    def _let_in(self, request: Request, on: str) -> None:
        owner = self.owner(request.headers.get("authorization", ""))
        if owner is None:
            raise Refusal(401, "auth_error", "Invalid user key")
        if owner != "account" and not (on in _OWN and str(request.path_params.get("id")) == owner):
            raise Refusal(403, "auth_error", "this key may not do that")
        full = self.limits.passed()
        if full:
            raise Refusal(429, "too_many_requests", "API requests too frequent", wait=self.limits.wait(full))

    async def _hinder(self, request: Request, on: str) -> None:
        """Lets an armed `status` happen."""
        rental = self.fleet.find(str(request.path_params.get("id")))
        body = await _body(request) if on == "create" else None
        names = (rental.id, rental.name) if rental else (str(body.get("label")),) if isinstance(body, dict) else ()
        fault = self.fleet.faults.take("status", *names, on=on)
        if fault is not None:
            self.fleet.save()
            is_quota = fault.status == 429 and on == "catalog" and fault.retry_after is None
            error = "search_quota_exceeded" if is_quota else "server_error"
            raise Refusal(fault.status, error, "armed fault", wait=fault.retry_after)

    def _found(self, request: Request) -> Rental:
        rental = self.fleet.find(str(request.path_params["id"]))
        if rental is None:
            raise Refusal(404, "no_such_instance", f"instance {request.path_params['id']} not found")
        return rental

    # The market.

    async def _search(self, request: Request) -> Any:
        fleet = self.fleet
        try:
            found = market.search(
                await _body(request), instances.rented(fleet), lambda number: instances.least_bid(fleet, number)
            )
        except (market.QuestionError, TypeError, ValueError) as error:
            raise Refusal(400, "invalid_args", str(error)) from None
        capacity = self.account.settings.capacity
        return {
            "success": True,
            "offers": [
                offer
                for offer in found
                if capacity.get(offer["gpu_name"], 10**6) > fleet.rented_gpus(offer["gpu_name"])
            ],
        }

    async def _create(self, request: Request) -> Any:
        rental = instances.create(self.fleet, request.path_params["id"], await _body(request))
        if self.fleet.faults.take("created_but_500", rental.name):
            self.fleet.save()
            raise Refusal(500, "server_error", "internal server error")
        return {"success": True, "new_contract": int(rental.id), "instance_api_key": rental.key}

    # Instances.

    async def _all(self, _request: Request) -> Any:
        return {"success": True, "instances": [instances.describe(self.fleet, one) for one in self.fleet.there()]}

    async def _page(self, request: Request) -> Any:
        limit, after = request.query_params.get("limit", str(_PAGE)), request.query_params.get("after_token", "")
        if not limit.isdigit() or not 1 <= int(limit) <= _PAGE:
            raise Refusal(400, "invalid_args", f"limit must be from 1 to {_PAGE}")
        every = sorted(self.fleet.there(), key=lambda one: int(one.id))
        left = [one for one in every if not after.isdigit() or int(one.id) > int(after)]
        page = left[: int(limit)]
        more = page[-1].id if len(left) > len(page) else None
        shown = [instances.describe(self.fleet, one) for one in page]
        return {"success": True, "instances": shown, "instances_found": len(every), "next_token": more}

    async def _show(self, request: Request) -> Any:
        rental = self.fleet.find(str(request.path_params["id"]))
        return {"instances": None if rental is None else instances.describe(self.fleet, rental)}

    async def _change(self, request: Request) -> Any:
        instances.change(self.fleet, self._found(request), await _body(request))
        return {"success": True}

    async def _bid(self, request: Request) -> Any:
        instances.bid(self.fleet, self._found(request), await _body(request))
        return {"success": True}

    async def _reboot(self, request: Request) -> Any:
        rental = self._found(request)
        if rental.state != "running":
            raise Refusal(400, "invalid_args", "only a running instance can be rebooted")
        self.fleet.restart(rental)
        return {"success": True}

    async def _destroy(self, request: Request) -> Any:
        instances.end(self.fleet, self._found(request))
        return {"success": True}

    async def _logs(self, request: Request) -> Any:
        return {"success": True, "result_url": f"{self.base}/_logs/{self._found(request).id}"}

    async def _printed(self, request: Request) -> Response:
        """What an instance printed; as with Vast.ai, whoever has the address may read it."""
        if self.fleet.find(request.path_params["id"]) is None:
            return PlainTextResponse("not found", 404)
        folder = self.fleet.home / "machines" / request.path_params["id"] / "log"
        return PlainTextResponse("".join(f"{line.text}\n" for line in Reader(folder, ("container",)).all()))

    # The account.

    async def _keys(self, _request: Request) -> Any:
        return [{"id": number, "public_key": key} for number, key in enumerate(self.account.ssh_keys, 1)]

    async def _add_key(self, request: Request) -> Any:
        self.account.ssh_keys.append(_key(await _body(request)))
        self.fleet.save()
        return {"success": True}

    async def _attach(self, request: Request) -> Any:
        """As with Vast.ai, a key that is attached to a running instance is taken at its next start."""
        rental = self._found(request)
        rental.facts["ssh_keys"].append(_key(await _body(request)))
        self.fleet.write(rental)
        return {"success": True}

    async def _account(self, _request: Request) -> Any:
        return {"id": 1, "email": "you@example.com", "credit": self.fleet.balance(), "api_key": self.account.key}


def _key(body: Any) -> str:
    key = body.get("ssh_key") if isinstance(body, dict) else None
    if not isinstance(key, str) or len(key.split()) < 2:
        raise Refusal(400, "invalid_args", "ssh_key must be a public key")
    return key.strip()


async def _body(request: Request) -> Any:
    try:
        return await request.json()
    except (ValueError, RecursionError):
        raise Refusal(400, "invalid_args", "the request is not JSON") from None
