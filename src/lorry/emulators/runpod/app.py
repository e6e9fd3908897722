"""The endpoints of the emulated RunPod, each behind the same gate: is the API up, whose key is it, how often did they ask."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from lorry.emulators.cloud import Cloud
from lorry.emulators.rental import Rental
from lorry.emulators.runpod import billing, catalog, legacy, logs, pods, shapes, storage
from lorry.emulators.runpod.problems import Problem, not_found

Handler = Callable[[Request], Awaitable[Response]]
_DETAILS = {
    402: "insufficient balance: at least one hour of the pod's price is required",
    403: "access denied",
    422: "Request validation failed.",
    429: "rate limit exceeded for the minute window",
}
_OWN = ("get", "delete", "action", "logs")
"""What a key that is on a pod may do, and only with that pod."""


class RunPod(Cloud):
    """RunPod's REST API v2, as its OpenAPI document and its documentation tell."""

    name: ClassVar[str] = "runpod"

    def dress(self, rental: Rental) -> Mapping[str, str]:
        """The variables of a pod."""
        return pods.dress(rental, f"{self.base}/v2")

    def variables(self) -> dict[str, str]:
        """Address and key."""
        return {"RUNPOD_API_URL": f"{self.base}/v2", "RUNPOD_API_KEY": self.account.key}

    def told_state(self, rental: Rental) -> str:
        """The pod's status."""
        return pods.STATUS[rental.state]

    def routes(self) -> Sequence[BaseRoute]:
        """Every path with its methods; another method gets 405."""
        paths: dict[str, dict[str, tuple[str, Handler]]] = {
            "/v2/account/ssh-keys": {"GET": ("keys", self._keys), "PUT": ("keys", self._set_keys)},
            "/v2/pods": {"GET": ("list", self._list), "POST": ("create", self._create)},
            "/v2/pods/{id}": {"GET": ("get", self._get), "DELETE": ("delete", self._delete)},
            "/v2/pods/{id}/action": {"POST": ("action", self._act)},
            "/v2/pods/{id}/logs": {"GET": ("logs", self._logs)},
            "/v2/billing/pods": {"GET": ("billing", self._billing)},
            **self._catalog_paths(),
            **self._stored("network-volumes", _VOLUMES),
            **self._stored("templates", _TEMPLATES),
        }
        open_to_all = Route("/v2/openapi.json", _document)
        older = [Route("/graphql", self._graphql, methods=["POST"]), Route("/v1/pods", self._v1, methods=["POST"])]
        return [open_to_all, *older, *(self._route(path, methods) for path, methods in paths.items())]

    def _route(self, path: str, methods: Mapping[str, tuple[str, Handler]]) -> Route:
        async def answer(request: Request) -> Response:
            method = "GET" if request.method == "HEAD" else request.method
            on, handler = methods.get(method, ("other", self._no_method(list(methods))))
            return await self._gate(request, on, handler)

        return Route(path, answer, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])

    async def _gate(self, request: Request, on: str, handler: Handler) -> Response:
        """An answer, whatever happens: a Problem becomes one."""
        if self.fleet.now() < self.account.down_until:
            return HTMLResponse("<html><head><title>502 Bad Gateway</title></head></html>", 502)
        if request.headers.get("user-agent", "").startswith("Python-urllib"):
            return PlainTextResponse("error code: 1010", 403)
        try:
            self._let_in(request, on)
        except Problem as problem:
            return problem.response()
        headers = self.limits.headers()
        try:
            self._hinder(on, await self._names(request, on))
            answer = await handler(request)
        except Problem as problem:
            answer = problem.response()
        answer.headers.update(headers)
        return answer

    def _let_in(self, request: Request, on: str) -> None:
        owner = self.owner(request.headers.get("authorization", ""))
        if owner is None:
            given = "authorization" in request.headers
            raise Problem(401, "invalid bearer token" if given else "missing bearer token")
        full = self.limits.passed()
        if full:
            wait = {"Retry-After": str(self.limits.wait(full)), **self.limits.headers()}
            raise Problem(429, f"rate limit exceeded for the {full} window", headers=wait)
        if owner != "account" and not (on in _OWN and request.path_params.get("id") == owner):
            raise Problem(403, "access denied", headers=self.limits.headers())

    async def _names(self, request: Request, on: str) -> tuple[str, ...]:
        """The id and the name of the pod that a request is about, as far as it tells."""
        rental = self.fleet.find(str(request.path_params.get("id")))
        if rental is not None:
            return (rental.id, rental.name)
        body = await _body(request) if on == "create" else None
        return (str(body.get("name")),) if isinstance(body, dict) else ()

    def _hinder(self, on: str, names: tuple[str, ...]) -> None:
        """Lets an armed `status` happen."""
        fault = self.fleet.faults.take("status", *names, on=on)
        if fault is None:
            return
        self.fleet.save()
        wait = fault.retry_after if fault.retry_after is not None else (5 if fault.status == 429 else None)
        headers = {} if wait is None else {"Retry-After": str(wait)}
        errors = ["$: armed fault"] if fault.status == 422 else ()
        raise Problem(fault.status, _DETAILS.get(fault.status, "internal server error"), errors=errors, headers=headers)

    def _no_method(self, allowed: list[str]) -> Handler:
        async def refuse(_request: Request) -> Response:
            headers = {"Allow": ", ".join(allowed)}
            raise Problem(405, "The requested method is not allowed for this path.", headers=headers)

        return refuse

    # Pods.

    def _found(self, request: Request) -> Rental:
        rental = self.fleet.find(request.path_params["id"])
        if rental is None:
            raise not_found("pod")
        return rental

    async def _list(self, _request: Request) -> Response:
        return JSONResponse({"pods": [pods.describe(self.fleet, rental) for rental in self.fleet.there()]})

    async def _create(self, request: Request) -> Response:
        rental = pods.create(self.fleet, await _body(request))
        if self.fleet.faults.take("created_but_500", rental.name):
            self.fleet.save()
            raise Problem(500, "internal server error")
        return JSONResponse(pods.describe(self.fleet, rental), 201)

    async def _get(self, request: Request) -> Response:
        return JSONResponse(pods.describe(self.fleet, self._found(request)))

    async def _delete(self, request: Request) -> Response:
        pods.end(self.fleet, self._found(request))
        return Response(status_code=204)

    async def _act(self, request: Request) -> Response:
        rental, body = self._found(request), await _body(request)
        shapes.check("PodActionRequest", body)
        pods.act(self.fleet, rental, body["action"])
        return JSONResponse(pods.describe(self.fleet, rental)) if rental.is_there else Response(status_code=204)

    async def _logs(self, request: Request) -> Response:
        return logs.stream(self.fleet, self._found(request), request, lambda: self.closes)

    async def _billing(self, request: Request) -> Response:
        return JSONResponse(billing.pods(self.fleet, request.query_params))

    # The account.

    async def _keys(self, _request: Request) -> Response:
        return JSONResponse({"keys": self.account.ssh_keys})

    async def _set_keys(self, request: Request) -> Response:
        body = await _body(request)
        shapes.check("UpdateSshKeysRequest", body)
        self.account.ssh_keys = body["keys"]
        self.fleet.save()
        return JSONResponse({"keys": self.account.ssh_keys})

    async def _graphql(self, request: Request) -> Response:
        """What is left of the older API: balance and refusals."""
        owner = self.owner(request.headers.get("authorization", ""))
        return JSONResponse(*legacy.graphql(self.fleet, await _body(request), owner))

    async def _v1(self, request: Request) -> Response:
        return JSONResponse(*legacy.create(await _body(request)))

    def _catalog_paths(self) -> dict[str, dict[str, tuple[str, Handler]]]:
        fleet = self.fleet
        answers: dict[str, Callable[[Request], Any]] = {
            "gpus": lambda request: catalog.gpus(fleet, request.query_params),
            "gpus/{id:path}": lambda request: catalog.one_gpu(fleet, request.path_params["id"], request.query_params),
            "cpus": lambda request: catalog.cpus(request.query_params),
            "cpus/{id}": lambda request: catalog.one_cpu(request.path_params["id"], request.query_params),
            "datacenters": lambda request: catalog.centres(fleet, request.query_params),
            "datacenters/{id}": lambda request: catalog.one_centre(
                fleet, request.path_params["id"], request.query_params
            ),
        }
        return {f"/v2/catalog/{path}": {"GET": ("catalog", _answering(what))} for path, what in answers.items()}

    def _stored(self, name: str, kept: Mapping[str, Callable[..., Any]]) -> dict[str, dict[str, tuple[str, Handler]]]:
        """Paths of things that are made, read, changed and deleted: volumes and templates."""
        fleet = self.fleet

        async def every(_request: Request) -> Response:
            return JSONResponse(kept["all"](fleet))

        async def make(request: Request) -> Response:
            return JSONResponse(kept["make"](fleet, await _body(request)), 201)

        async def one(request: Request) -> Response:
            return JSONResponse(kept["one"](fleet, request.path_params["id"]))

        async def change(request: Request) -> Response:
            return JSONResponse(kept["change"](fleet, request.path_params["id"], await _body(request)))

        async def delete(request: Request) -> Response:
            kept["delete"](fleet, request.path_params["id"])
            return Response(status_code=204)

        methods: dict[str, tuple[str, Handler]] = {
            "GET": (name, one),
            "PATCH": (name, change),
            "DELETE": (name, delete),
        }
        return {f"/v2/{name}": {"GET": (name, every), "POST": (name, make)}, f"/v2/{name}/{{id}}": methods}


_VOLUMES: dict[str, Callable[..., Any]] = {
    "all": storage.volumes,
    "one": storage.volume,
    "make": storage.create_volume,
    "change": storage.change_volume,
    "delete": storage.delete_volume,
}
_TEMPLATES: dict[str, Callable[..., Any]] = {
    "all": storage.templates,
    "one": storage.template,
    "make": storage.create_template,
    "change": storage.change_template,
    "delete": storage.delete_template,
}


def _answering(what: Callable[[Request], Any]) -> Handler:
    async def answer(request: Request) -> Response:
        return JSONResponse(what(request))

    return answer


async def _document(_request: Request) -> Response:
    """The shapes that requests are checked against; as with RunPod, no key is needed."""
    return JSONResponse(shapes.document())


async def _body(request: Request) -> Any:
    """The request's JSON. Raises Problem where it is none."""
    try:
        return await request.json()
    except (ValueError, RecursionError):
        raise Problem(400, "request could not be processed") from None
