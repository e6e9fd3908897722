"""What the runs of one controller process share, so that hundreds of them ask, open and write no more than a few would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from lorry.compute import reap
from lorry.compute.control.rows import Rows
from lorry.compute.control.succession import Succession
from lorry.compute.control.watch import Watch
from lorry.compute.providers._base import Provider
from lorry.plugins import make
from lorry.track.leases import Leases
from lorry.track.store import Store


@dataclass
class Shared:
    """One for a process; `open` it, and `close` it in the end."""

    store: Store
    leases: Leases
    rows: Rows
    succession: Succession = field(default_factory=Succession)
    _providers: dict[str, Provider] = field(default_factory=dict[str, Provider])
    _watches: dict[int, Watch] = field(default_factory=dict[int, Watch])

    @classmethod
    def open(cls) -> Shared:
        """That of lorry's home."""
        store = Store.open()
        return cls(store, Leases(store), Rows(store))

    def provider(self, spec: Mapping[str, Any]) -> Provider:
        """The provider of such settings, one for all runs of an account. Raises InputError for settings that are none."""
        made = cast("Provider", make("providers", dict(spec)))
        mark = json.dumps([made.name, made.model_dump(mode="json"), reap.account(made)], sort_keys=True)
        return self._providers.setdefault(mark, made)

    def providers(self, specs: Sequence[Mapping[str, Any]]) -> list[Provider]:
        """Those of a recipe's `compute.on`."""
        return [self.provider(spec) for spec in specs]

    def watch(self, provider: Provider) -> Watch:
        """The look at a provider's machines that all of its runs share."""
        found = self._watches.get(id(provider))
        if found is None:
            found = self._watches[id(provider)] = Watch(provider)
        return found

    async def close(self) -> None:
        """Gives connections back."""
        await asyncio.gather(*(one.close() for one in self._providers.values()), return_exceptions=True)
