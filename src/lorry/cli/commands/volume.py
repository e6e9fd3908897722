"""`lorry volume`: network volumes, which outlive machines and cost money as long as they are there."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Annotated, TypeVar

import typer

from lorry import units
from lorry.cli import output
from lorry.cli.commands.provider import run
from lorry.cli.options import takes
from lorry.compute import market, reap
from lorry.compute.providers._base import Provider, Volume
from lorry.errors import InputError, RefusedError, StoppedError
from lorry.recipe.compute_on import providers_of
from lorry.secrets import found as secrets
from lorry.track.leases import Leases, VolumeRow

app = typer.Typer(
    help="Make, list and delete network volumes: models and checkpoints between machines.", no_args_is_help=True
)
T = TypeVar("T")
On = Annotated[str, typer.Option("--on", help="The provider (`lorry provider list`).")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True)
class New:
    """What a new volume takes."""

    name: Annotated[str, typer.Argument(help="What it will be called.")]
    place: Annotated[str, typer.Option(help="The data centre: `EU-RO-1`. Machines must be there too.")]
    gb: Annotated[int, typer.Option(help="Its size; it can grow later, and never shrink.", min=10, max=4096)] = 50
    on: On = "runpod"
    yes: Yes = False
    as_json: Json = False


@app.command()
@takes(New)
def create(new: New) -> None:
    """Make a network volume. It costs money, whether a machine uses it or not, until it is deleted."""
    provider = _provider(new.on)
    usd = provider.volume_usd(new.gb)
    price = f" at about {units.cents(usd)} a month" if usd is not None else ""
    told = f"make a volume of {new.gb} GB in {new.place}, which {new.on} bills{price} until it is deleted"
    _agree(told, yes=new.yes)
    made = _with(provider, lambda one: one.create_volume(new.name, new.gb, new.place))
    settings = provider.model_dump(mode="json")
    facts = (made.id, new.on, made.name, made.gb, made.place, made.usd_per_month)
    account = reap.account(provider)
    Leases.open().add_volume(VolumeRow(*facts, created_at=time.time(), settings=settings, account=account))
    if new.as_json:
        output.emit_json({"provider": new.on, **asdict(made)})
    else:
        output.data(made.id)
        output.note(f"`compute.volume: {made.name}` uses it{_price(made)}")


@app.command("list")
def list_(
    on: Annotated[str | None, typer.Option("--on", help="Only this provider's.")] = None, as_json: Json = False
) -> None:
    """List the network volumes of every provider whose key is at hand, and what they cost."""
    asked = (
        [_provider(on)] if on else [one for one in map(_provider, market.having("volumes")) if secrets.secret(one.key)]
    )
    if not asked:
        raise InputError(
            "no key of a provider with volumes is at hand", hint="`lorry provider list` shows what is missing"
        )
    found = [(one.name, volume) for one in asked for volume in _with(one, lambda it: it.volumes())]
    if as_json:
        output.emit_json([{"provider": name, **asdict(volume)} for name, volume in found])
    elif found:
        columns = [
            "volume",
            "id",
            "provider",
            output.Column("GB", right=True),
            "place",
            output.Column("a month", right=True),
        ]
        output.table(columns, [_cells(name, volume) for name, volume in found])
    else:
        output.note("no volumes")


@app.command()
def delete(
    volume: Annotated[str, typer.Argument(help="A volume's name or id.")], on: On = "runpod", yes: Yes = False
) -> None:
    """Delete a network volume with all that is on it."""
    provider = _provider(on)

    async def find(one: Provider) -> Volume:
        return (await market.volume_of([one], volume))[1]

    found = _with(provider, find)
    _agree(f"delete `{found.name}` ({found.id}, {found.gb} GB in {found.place}) with all that is on it", yes=yes)
    _with(_provider(on), lambda one: one.delete_volume(found.id))
    Leases.open().volume_deleted(on, found.id, time.time())
    output.note(f"`{found.name}` is deleted")


def _provider(name: str) -> Provider:
    """A provider that has volumes. Raises InputError for another."""
    (provider,) = market.providers(providers_of([name]))
    if not provider.capabilities.volumes:
        raise InputError(f"`{name}` has no network volumes", hint=f"these have: {', '.join(market.having('volumes'))}")
    return provider


def _with(provider: Provider, work: Callable[[Provider], Awaitable[T]]) -> T:
    async def done() -> T:
        try:
            return await work(provider)
        finally:
            await provider.close()

    return run(done())


def _agree(what: str, *, yes: bool) -> None:
    """Raises RefusedError where nobody can agree, StoppedError where the person does not."""
    if yes:
        return
    if not output.can_ask():
        raise RefusedError(f"nobody is here to agree: {what}", hint="`--yes` agrees")
    if output.ask(f"{what}? yes or no", default="no").casefold() not in ("y", "yes"):
        raise StoppedError("nothing was done")


def _price(volume: Volume) -> str:
    return "" if volume.usd_per_month is None else f"; it costs {units.cents(volume.usd_per_month)} a month"


def _cells(provider: str, volume: Volume) -> list[str]:
    usd = "-" if volume.usd_per_month is None else units.cents(volume.usd_per_month)
    return [volume.name, volume.id, provider, str(volume.gb), volume.place, usd]
