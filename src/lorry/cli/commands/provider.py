"""`lorry provider`: who rents machines, and the keys for it."""

from __future__ import annotations

import asyncio
import getpass
import sys
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar, cast

import typer

from lorry import plugins
from lorry.cli import output
from lorry.cli.plugin_list import described
from lorry.compute import market
from lorry.compute.outcomes import OutcomeError
from lorry.compute.providers._base import Capabilities, Provider
from lorry.errors import InputError
from lorry.recipe.compute_on import providers_of
from lorry.secrets import found as secrets

app = typer.Typer(help="List who rents machines, and see to the keys for it.", no_args_is_help=True)
_ENDING = {"scoped_key": "with a key of its own", "ttl": "at a time that is set", "none": "no"}
_LONGEST_KEY = 4096
T = TypeVar("T")


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the providers: what each can do, and whether a key is at hand. No key is shown."""
    rows = [{**one, **_facts(one["name"])} for one in described("providers")]
    if as_json:
        output.emit_json(rows)
        return
    columns = ["provider", "key", "interruptible", "volumes", "stop", "ends itself", "what it is"]
    output.table(columns, [_cells(one) for one in rows])
    output.note(
        "`lorry provider add NAME` keeps a key, `lorry provider test NAME` tries it; recipes choose in `compute.on`"
    )


@app.command()
def add(name: Annotated[str, typer.Argument(help="A provider: `runpod`.")]) -> None:
    """Keep a provider's key in the system's keyring. It is asked for without echo, or read from stdin."""
    from lorry.secrets.keeping import keep

    provider = _class(name)
    if not provider.key:
        raise InputError(f"`{name}` needs no key", hint=f"`lorry provider test {name}`")
    keep(provider.key, _asked_for(provider))
    output.note(f"{provider.key} is in this computer's keyring; `lorry provider test {name}` tries it")
    if secrets.found(provider.key)[1] in ("environment", ".env"):
        output.warn(f"{provider.key} is also set in the environment or in .env, which goes before the keyring")


@app.command("test")
def try_(
    name: Annotated[str, typer.Argument(help="A provider: `runpod`, or `ssh:user@host`.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask a provider whose key it is, or whether hosts answer; nothing is rented."""
    (provider,) = market.providers(providers_of([name]))
    told = run(_account(provider))
    if as_json:
        output.emit_json({"provider": provider.name, "account": told})
    else:
        output.data(f"{provider.name}: {told}")


@app.command()
def forget(name: Annotated[str, typer.Argument(help="A host: `ssh:user@host`.")]) -> None:
    """Forget the key of a host that was set up anew: the next one that it answers with is taken for its own."""
    from lorry.compute import hosts
    from lorry.track.leases import Leases

    (provider,) = market.providers(providers_of([name]))
    names: list[str] = getattr(provider, "hosts", [])
    if not names:
        told = f"`{name}` is no host: the machines of `{provider.name}` have a new key each"
        raise InputError(told, hint="`lorry provider forget ssh:user@host`")
    for host in names:
        known = hosts.forget(Leases.open(), host)
        output.note(f"`{host}`: its key is forgotten" if known else f"`{host}`: no key of it is known")


def run(work: Coroutine[Any, Any, T]) -> T:
    """What a provider answered. Raises its refusals as people are told them."""
    try:
        return asyncio.run(work)
    except OutcomeError as error:
        raise market.in_words(error) from error


async def _account(provider: Provider) -> str:
    try:
        return await provider.account()
    finally:
        await provider.close()


def _class(name: str) -> type[Provider]:
    return cast("type[Provider]", plugins.find("providers", name))


def _asked_for(provider: type[Provider]) -> str:
    """The key as it was typed or piped. Raises InputError for what can be none."""
    if output.can_ask():
        output.note(f"keys are made at {provider.key_page}")
        key = getpass.getpass(f"{provider.key} (it is not shown): ")
    else:
        key = sys.stdin.read(_LONGEST_KEY + 1) if sys.stdin is not None else ""
    key = key.strip()
    if not key:
        hint = f"make one at {provider.key_page}, and type it or pipe it into this command"
        raise InputError("no key was given", hint=hint)
    if len(key) > _LONGEST_KEY or not key.isascii() or not key.isprintable() or " " in key:
        raise InputError(
            "that is no key: it holds characters that no key has, or is too long", hint="copy it once more"
        )
    return key


def _facts(name: str) -> dict[str, Any]:
    provider = _class(name)
    able = provider.capabilities
    origin = secrets.found(provider.key)[1] if provider.key else None
    return {
        "capabilities": {field: getattr(able, field) for field in Capabilities.__dataclass_fields__},
        "key": {"variable": provider.key, "page": provider.key_page, "from": origin} if provider.key else None,
    }


def _cells(one: dict[str, Any]) -> list[str]:
    able, key = one["capabilities"], one["key"]
    where = "-" if key is None else f"from {key['from']}" if key["from"] else f"no {key['variable']}"
    marks = ["yes" if able[field] else "no" for field in ("interruptible", "volumes", "stop")]
    return [one["name"], where, *marks, _ENDING[able["self_ending"]] if able["bills"] else "-", one["summary"]]
