"""Network volumes and templates of the emulated account."""

from __future__ import annotations

from typing import Any

from lorry.emulators.account import Volume
from lorry.emulators.fleet import Fleet
from lorry.emulators.rental import Span
from lorry.emulators.runpod import catalog, shapes
from lorry.emulators.runpod.pods import new_id
from lorry.emulators.runpod.problems import Problem, not_found

Json = dict[str, Any]
_FIRST, _ABOVE = 0.07 / 730, 0.05 / 730
"""USD a GB and hour, of the first 1,000 GB and of what is above (RunPod's pricing page, 2026)."""
_TEMPLATE: Json = {
    "args": "",
    "disk": 20,
    "mounts": {},
    "ports": [],
    "env": {},
    "registry": None,
    "serverless": False,
    "public": False,
    "category": "NVIDIA",
    "startSsh": True,
    "startJupyter": True,
    "allowedCudaVersions": [],
}


def volumes(fleet: Fleet) -> Json:
    """All network volumes."""
    return {"networkVolumes": [_volume(one) for one in fleet.account.volumes.values() if not one.deleted]}


def volume(fleet: Fleet, volume_id: str) -> Json:
    """One network volume."""
    return _volume(_found(fleet, volume_id))


def create_volume(fleet: Fleet, body: Any) -> Json:
    """Makes a network volume. Raises Problem where the data centre has none, with those that have."""
    shapes.check("CreateNetworkVolumeRequest", body)
    kind = body.get("type", "STANDARD")
    fit = [row["id"] for row in catalog.content()["dataCenters"] if kind in row["volumes"]]
    if body["dataCenter"] not in fit:
        raise Problem(
            400, f"data center {body['dataCenter']} does not support {kind} volumes; use one of {', '.join(fit)}"
        )
    made = Volume(id=new_id(10), name=body["name"], gb=body["size"], place=body["dataCenter"], kind=kind)
    fleet.account.volumes[made.id] = made
    (fleet.home / "volumes" / made.id).mkdir()
    _bill(fleet, made)
    return _volume(made)


def change_volume(fleet: Fleet, volume_id: str, body: Any) -> Json:
    """Renames a network volume, or makes it larger."""
    found = _found(fleet, volume_id)
    shapes.check("UpdateNetworkVolumeRequest", body)
    if body.get("size", found.gb) < found.gb:
        raise Problem(400, "network volumes can only grow")
    found.name, found.gb = body.get("name", found.name), body.get("size", found.gb)
    _bill(fleet, found)
    return _volume(found)


def delete_volume(fleet: Fleet, volume_id: str) -> None:
    """Deletes a network volume. Raises Problem while a pod has it."""
    found = _found(fleet, volume_id)
    if any(rental.volume == volume_id for rental in fleet.there()):
        raise Problem(400, "network volume is in use by a pod")
    found.deleted = True
    _bill(fleet, found)
    fleet.remove_volume(volume_id)


def _found(fleet: Fleet, volume_id: str) -> Volume:
    found = fleet.account.volumes.get(volume_id)
    if found is None or found.deleted:
        raise not_found("network volume")
    return found


def _bill(fleet: Fleet, found: Volume) -> None:
    """Begins to bill what the volume is now."""
    now = fleet.now()
    for span in found.spans:
        span.until = now if span.until is None else span.until
    if not found.deleted:
        price = min(found.gb, 1000) * _FIRST + max(0, found.gb - 1000) * _ABOVE
        found.spans.append(Span(what="disk", since=now, usd_per_hour=price))
    fleet.save()


def _volume(one: Volume) -> Json:
    return {"id": one.id, "name": one.name, "size": one.gb, "dataCenter": one.place, "type": one.kind}


def templates(fleet: Fleet) -> Json:
    """All templates."""
    return {"templates": list(fleet.account.templates.values())}


def template(fleet: Fleet, template_id: str) -> Json:
    """One template."""
    if template_id not in fleet.account.templates:
        raise not_found("template")
    return fleet.account.templates[template_id]


def create_template(fleet: Fleet, body: Any) -> Json:
    """Makes a template."""
    shapes.check("CreateTemplateRequest", body)
    if any(one["name"] == body["name"] for one in fleet.account.templates.values()):
        raise Problem(400, "Template name must be unique.")
    made = {"id": new_id(10), **_TEMPLATE, **body}
    fleet.account.templates[made["id"]] = made
    fleet.save()
    return made


def change_template(fleet: Fleet, template_id: str, body: Any) -> Json:
    """Changes what a template says; pods that were made from it stay as they are."""
    found = template(fleet, template_id)
    shapes.check("UpdateTemplateRequest", body)
    found |= body
    fleet.save()
    return found


def delete_template(fleet: Fleet, template_id: str) -> None:
    """Deletes a template."""
    template(fleet, template_id)
    del fleet.account.templates[template_id]
    fleet.save()
