"""The APIs that RunPod is retiring, as far as anybody may still ask them: the balance, and that there are no spot pods."""

from __future__ import annotations

from typing import Any

from lorry.emulators.fleet import Fleet

Json = dict[str, Any]
_NO_SPOT = "Spot pods are no longer offered"
_SPOT = ("podRentInterruptable", "podBidResume")


def graphql(fleet: Fleet, body: Any, owner: str | None) -> tuple[Json, int]:
    """Body and status of what GraphQL answers: business errors come with 200, as there."""
    query = body.get("query") if isinstance(body, dict) else None
    if owner is None:
        return {"errors": [{"message": "Unauthorized"}]}, 401
    if not isinstance(query, str):
        return {
            "errors": [{"message": "Must provide a query", "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}]
        }, 400
    for name in _SPOT:
        if name in query:
            return {"errors": [_error(_NO_SPOT, name)], "data": {name: None}}, 200
    if "myself" not in query:
        told = "this emulator answers `myself` alone: use REST v2"
        return {"errors": [{"message": told, "extensions": {"code": "GRAPHQL_VALIDATION_FAILED"}}]}, 400
    if owner != "account":
        return {"errors": [_error("Unauthorized", "myself")], "data": {"myself": None}}, 200
    per_hour = sum(one.usd_per_hour for one in fleet.there())
    return {
        "data": {"myself": {"id": "emulated", "clientBalance": fleet.balance(), "currentSpendPerHr": per_hour}}
    }, 200


def create(body: Any) -> tuple[Json, int]:
    """Body and status of what REST v1 answers to whoever wants a pod."""
    wants_spot = isinstance(body, dict) and body.get("interruptible")
    return {"error": f"create pod: {_NO_SPOT if wants_spot else 'REST v1 is retired: use v2'}"}, 500


def _error(message: str, name: str) -> Json:
    return {"message": message, "path": [name], "extensions": {"code": "RUNPOD"}}
