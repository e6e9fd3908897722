"""The contract of a provider: what lorry asks of whoever rents machines. One test runs over all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from lorry.plan.gpus import GpuSpec
from lorry.plan.offers import Offer
from lorry.plugins import Plugin

State = Literal["starting", "running", "stopped", "ended", "broken"]
"""Of a machine, as its provider tells: `stopped` may bill for storage and can be ended, `ended` bills for nothing, `broken` can
run no more and has to be ended."""
SelfEnding = Literal["scoped_key", "ttl", "none"]
"""How a machine can end itself when nobody is left to end it: with a key that can do just that, by a time limit that the
provider keeps, or not at all."""

Texts = list[str]
"""For settings that are lists: in a provider's class body `list` is the method."""


@dataclass(frozen=True)
class Capabilities:
    """What a provider can do. What it lacks is told before anything is rented, with who has it."""

    interruptible: bool = False
    """Whether it rents machines for less that it may take back."""
    volumes: bool = False
    """Whether it has network volumes that outlive machines."""
    stop: bool = False
    """Whether a machine can be stopped and started again."""
    logs: bool = False
    """Whether what a machine prints can be read."""
    self_ending: SelfEnding = "none"
    bills: bool = True
    """Whether machines cost money while they are there, so that each must be ended and confirmed to be."""


@dataclass(frozen=True)
class Wanted:
    """What kind of machine is looked for."""

    gpus: tuple[GpuSpec, ...] = ()
    """Any of these; empty for every GPU."""
    cpu: bool = False
    """A machine without a GPU: for small models, rehearsals and demonstrations."""
    count: int = 1
    memory: int = 0
    """Bytes that one GPU must have."""
    disk_gb: float = 0.0
    interruptible: Literal["prefer", "only", "never"] = "never"
    volume: str = ""
    """Id of a network volume that will be mounted: only machines beside it can have it."""


@dataclass(frozen=True)
class Address:
    """Where SSH is answered: TCP, as the provider's latest answer says."""

    host: str
    port: int
    user: str


@dataclass(frozen=True)
class Machine:
    """A machine as its provider describes it now."""

    id: str
    name: str
    state: State
    usd_per_hour: float
    """What it costs in this state: a stopped one only its storage."""
    address: Address | None = None
    """None until the provider tells one, and whenever it does not run."""
    why: str = ""
    """What the provider says of how it came into this state; empty where it says nothing."""
    preempted: bool = False
    """Whether it stands still because somebody paid more, or the provider wanted it back."""
    balance_empty: bool = False
    """Whether it stands still because the account has no money left."""
    created_at: float | None = None
    """Seconds since 1970."""


@dataclass(frozen=True)
class Order:
    """A machine that is asked for, in full."""

    name: str
    """Unique in the account, for ever: by it a machine is found whose creation was never answered."""
    offer: Offer
    image: str
    """A container image, or a template's name where `template` is set; ignored where machines have no images."""
    template: str = ""
    disk_gb: int = 50
    volume: str = ""
    """Id of a network volume; empty for none."""
    mount: str = "/workspace"
    public_key: str = ""
    """One line as in `authorized_keys`."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """No secrets: providers show it in clear."""
    start: str = ""
    """A shell command that has to run first of all, in the background, whenever the machine starts: the dead-man switch."""
    bid: float | None = None
    """USD an hour for the whole machine; None for on demand."""


@dataclass(frozen=True)
class Volume:
    """A network volume."""

    id: str
    name: str
    gb: int
    place: str
    """The data centre that it lies in."""
    usd_per_month: float | None = None


class Provider(Plugin, ABC):
    """The base of all providers; fields are settings of `compute.on`.

    Every method may raise `OutcomeError` with the outcome that fits: BUSY with `retry_after`, API_DOWN, KEY_REFUSED. Reading is
    tried again within a method where that is safe; creating never is. One instance serves many runs at once; `close` it.
    """

    capabilities: ClassVar[Capabilities]
    key: ClassVar[str] = ""
    """The variable with the account's key; empty where there is none. It never goes onto a machine."""
    key_page: ClassVar[str] = ""
    """Where a key is made."""
    default_image: ClassVar[str] = ""

    @abstractmethod
    async def offers(self, wanted: Wanted) -> list[Offer]:
        """What could be rented now, the cheapest first, each with `key` set to what `create` needs; may be empty."""

    async def places(self, wanted: Wanted) -> Sequence[str]:
        """Where such machines are to be had now: data centres or regions, sorted; none where the provider does not tell."""
        return sorted({offer.place for offer in await self.offers(wanted) if offer.place})

    @abstractmethod
    async def create(self, order: Order) -> Machine:
        """Asks for a machine, once. Returns when it is made, long before it is ready.

        Raises OutcomeError: NO_CAPACITY, NOT_ALLOWED, BID_TOO_LOW, BALANCE_EMPTY, REQUEST_WRONG where surely none was made;
        UNCERTAIN where one may have been: then list by name before anything else.
        """

    @abstractmethod
    async def find(self, machine_id: str) -> Machine | None:
        """The machine as it is now; None only where the provider says that there is none (any more)."""

    @abstractmethod
    async def list(self) -> Sequence[Machine]:
        """Every machine of the account, those of others among them, ended ones left out."""

    @abstractmethod
    async def end(self, machine_id: str) -> None:
        """Asks that a machine be ended. Returns silently where there is none. It has ended when `find` says so."""

    async def start(self, machine_id: str) -> None:
        """Starts a stopped machine again, on the same host. Only where `capabilities.stop`."""
        raise NotImplementedError(self.name)

    def logs(self, machine_id: str, after: str = "") -> AsyncIterator[tuple[str, str]]:
        """Lines that the machine printed, each with a mark to go on from. Only where `capabilities.logs`."""
        raise NotImplementedError(self.name)

    @abstractmethod
    async def account(self) -> str:
        """Whose key it is, in words; asks the provider, so that a wrong key is found out. Raises OutcomeError KEY_REFUSED."""

    async def volumes(self) -> Sequence[Volume]:
        """The account's network volumes; none where there are no such things."""
        return ()

    def volume_usd(self, gb: int) -> float | None:  # noqa: ARG002 - for those who know
        """USD a month of a volume of that size; None where it is not known beforehand."""
        return None

    async def create_volume(self, name: str, gb: int, place: str) -> Volume:
        """Makes a network volume. Only where `capabilities.volumes`."""
        raise NotImplementedError(self.name)

    async def delete_volume(self, volume_id: str) -> None:
        """Deletes a network volume with all that is on it; returns silently where there is none."""
        raise NotImplementedError(self.name)

    @property
    def ends_itself(self) -> str:
        """A POSIX shell command by which a machine ends itself, with nothing but what the provider gives it.

        It fails where the provider did not take it. Empty where `capabilities.self_ending` is not `scoped_key`.
        """
        return ""

    @abstractmethod
    def by_hand(self, machine_id: str) -> str:
        """How a person ends the machine without lorry: a literal command, or the address of a page."""

    async def close(self) -> None:
        """Gives connections back."""
