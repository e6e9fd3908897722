"""What pods have cost, in buckets of time, as `GET /v2/billing/pods` answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.datastructures import QueryParams

from lorry.emulators.fleet import Fleet
from lorry.emulators.rental import Rental
from lorry.emulators.runpod.pods import told_time
from lorry.emulators.runpod.problems import Problem

Json = dict[str, Any]
_SIZES = ("hour", "day", "week", "month", "year")
_MOST = 10_000


def pods(fleet: Fleet, query: QueryParams) -> Json:
    """A record for each pod and bucket, and the sums."""
    size = query.get("bucketSize", "day")
    if size not in _SIZES:
        raise Problem(422, "Request validation failed.", errors=[f"bucketSize: not one of {', '.join(_SIZES)}"])
    buckets = _buckets(fleet.now(), size, query)
    wanted = query.get("podId")
    rentals = [one for one in fleet.rentals.values() if wanted in (None, one.id)]
    spans = [(one, begin, end) for begin, end in buckets for one in rentals]
    records = [record for one, begin, end in spans if (record := _record(fleet, one, begin, end))["totalAmount"] > 0]
    names = ("totalAmount", "gpuAmount", "cpuAmount", "diskAmount")
    window = {"startTime": _told(buckets[0][0]), "endTime": _told(buckets[-1][1])}
    metadata = {
        "query": {**window, "bucketSize": size, "podId": wanted},
        "recordCount": len(records),
        "uniquePodCount": len({record["podId"] for record in records}),
        "totals": {name: sum(record[name] for record in records) for name in names},
    }
    return {"records": records, "metadata": metadata}


def _record(fleet: Fleet, rental: Rental, begin: datetime, end: datetime) -> Json:
    now, between = fleet.now(), {"begin": begin.timestamp(), "end": end.timestamp()}
    compute, disk = rental.usd(now, what="compute", **between), rental.usd(now, what="disk", **between)
    return {
        "startTime": _told(begin),
        "endTime": _told(end),
        "podId": rental.id,
        "totalAmount": compute + disk,
        "gpuAmount": compute if rental.gpu else 0,
        "cpuAmount": 0 if rental.gpu else compute,
        "diskAmount": disk,
    }


def _buckets(now: float, size: str, query: QueryParams) -> list[tuple[datetime, datetime]]:
    if "lastN" in query and ("startTime" in query or "endTime" in query):
        raise Problem(400, "lastN and startTime/endTime are mutually exclusive")
    today = datetime.fromtimestamp(now, UTC)
    end = _time(query["endTime"]) if "endTime" in query else today
    if "lastN" in query:
        if not query["lastN"].isdigit() or not 0 < int(query["lastN"]) <= _MOST:
            raise Problem(422, "Request validation failed.", errors=["lastN: must be an integer of at least 1"])
        begin = _floor(today, size)
        for _ in range(int(query["lastN"]) - 1):
            begin = _floor(begin - timedelta(seconds=1), size)
    else:
        begin = _floor(_time(query["startTime"]) if "startTime" in query else today - timedelta(days=30), size)
    found: list[tuple[datetime, datetime]] = []
    while begin < end and len(found) < _MOST:
        after = _after(begin, size)
        found.append((begin, after))
        begin = after
    if not found:
        raise Problem(400, "startTime must be before endTime")
    return found


def _floor(at: datetime, size: str) -> datetime:
    hour = at.replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    return {
        "hour": hour,
        "day": day,
        "week": day - timedelta(days=day.weekday()),
        "month": day.replace(day=1),
        "year": day.replace(day=1, month=1),
    }[size]


def _after(begin: datetime, size: str) -> datetime:
    days = {"hour": 1 / 24, "day": 1, "week": 7, "month": 32, "year": 367}[size]
    return _floor(begin + timedelta(days=days), size)


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Problem(422, "Request validation failed.", errors=[f"{text!r} is not an RFC 3339 time"]) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _told(at: datetime) -> str:
    return told_time(at.timestamp())
