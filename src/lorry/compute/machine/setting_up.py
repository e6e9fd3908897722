"""Sets a machine up to train: its own torch where that fits, the lock's versions of the rest, and this very lorry."""

from __future__ import annotations

import asyncio
import importlib
import json
import platform
import secrets
import shlex
import sys
import tempfile
import time
import zlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from lorry.compute.machine import lock, wheel
from lorry.compute.machine.seen import Look, Way, looks, oldest_torch, way
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.secrets.masking import mask
from lorry.units import size
from lorry.visible import clean

_LOOK_SECONDS = 60.0
_INSTALL_SECONDS = 1800.0
"""The lock with a torch is some 4 GB, which a slow network takes half an hour for."""
_STEP_SECONDS = 300.0
_CLEAR_SECONDS = 30.0
_GPU_TRIES = 3
_GPU_PAUSE = 10.0
"""Seconds, more each time: a GPU may need a moment after its machine has started (CUDA error 802)."""
_MARK = b"lorry: "
_LOOK = """\
source=$(cat); unset PYTHONPATH PYTHONHOME; seen=:
ask() {
  path=$(command -v "$1") || return
  case $seen in *":$path:"*) return;; esac
  seen=$seen$path:
  "$path" -c "$source" ARGUMENTS && exit 0
}
ask "$HOME/.lorry/python/bin/python"
[ -z "$LORRY_PYTHON" ] || { ask "$LORRY_PYTHON"; exit 0; }
for name in "${VIRTUAL_ENV:-/none}/bin/python" python3 python; do ask "$name"; done
for folder in $(tr '\\0' '\\n' </proc/1/environ 2>/dev/null | sed -n 's/^PATH=//p' | tr : ' '); do ask "$folder/python3"; done
for name in /opt/conda/bin/python /venv/main/bin/python /opt/venv/bin/python /usr/local/bin/python3 /usr/bin/python3 \\
  python3.13 python3.12 python3.11; do ask "$name"; done
exit 0"""
"""Asks each Python that may be there until one will do: `$LORRY_PYTHON` alone where that is set, else those of the session's
PATH, of the PATH of the image's first process, for SSH sessions know nothing of what an image sets, and the usual ones."""
_INSTALL = (
    "{uv} pip install --python {python} --target {part} --no-deps --no-cache --no-progress --only-binary :all: -r -"
)
_UNFIT = (
    "no kernel image",
    "driver on your system is too old",
    "driver version is insufficient",
    "not compiled with CUDA",
)
"""What torch says where its build is not for the GPU or the driver; other trouble may be the machine's."""
_FULL = ("no space left on device", "disk quota exceeded", "os error 28")


class Done(Protocol):
    """How a command on the machine ended."""

    @property
    def code(self) -> int:
        """Its exit code."""
        ...

    @property
    def out(self) -> bytes:
        """What it printed."""
        ...

    @property
    def err(self) -> bytes:
        """What it complained of."""
        ...


class Link(Protocol):
    """A way to run commands on the machine."""

    async def run(self, command: str, *, stdin: bytes = b"", seconds: float = 60, most: int = 1 << 20) -> Done:
        """Runs a shell command to its end. Raises TimeoutError when it was not at its end after so many seconds."""
        ...


@dataclass(frozen=True)
class Ready:
    """A machine that can train."""

    python: str
    """The absolute path of the Python to train with, in `environment`."""
    site: str
    """The folder that holds what the machine lacked; empty where it had everything."""
    environment: Mapping[str, str]
    """Variables to start Python with."""
    seconds: Mapping[str, float]
    """What each step took; steps that were not needed are not in it."""
    torch: str
    gpus: tuple[str, ...] = ()
    """NVIDIA's GPUs by name, as their driver tells; empty where it cannot be read, as on emulated machines."""


@dataclass
class _Machine:
    """One machine while it is set up."""

    link: Link
    place: str
    free: int = 0
    """Bytes of disk before anything was installed."""
    seconds: dict[str, float] = field(default_factory=dict[str, float])

    @contextmanager
    def step(self, name: str) -> Generator[None]:
        began = time.monotonic()
        try:
            yield
        except TimeoutError:
            waited = time.monotonic() - began
            raise OutcomeError(Outcome.SETUP_FAILED, f"{name}: not done after {waited:.0f} s") from None
        finally:
            self.seconds[name] = time.monotonic() - began

    async def run(self, what: str, command: str, *, stdin: bytes = b"", seconds: float = _STEP_SECONDS) -> Done:
        """Runs a command that has to succeed; `what` is said where it does not."""
        done = await self.link.run(command, stdin=stdin, seconds=seconds)
        if done.code != 0:
            raise self.failure(what, done)
        return done

    async def prepare(
        self, what: str, python: str, arguments: Mapping[str, Any], *, stdin: bytes = b""
    ) -> dict[str, Any]:
        """Takes one of `on_machine/prepare.py`'s steps; its answer. `python` is a command, maybe with variables before it."""
        command = f"{python} -c {shlex.quote(_source())} {shlex.quote(json.dumps(arguments))}"
        answers = _answers(await self.run(what, command, stdin=stdin))
        if len(answers) != 1 or not isinstance(answers[0], dict):
            raise OutcomeError(Outcome.SETUP_FAILED, f"{what}: the machine gave no answer")
        return answers[0]

    def failure(self, what: str, done: Done) -> OutcomeError:
        """What a failed step is told as: with its last lines, or that the disk is full."""
        text = clean(mask((done.out + b"\n" + done.err).decode(errors="replace")))
        if any(sign in text.lower() for sign in _FULL):
            hint = "set a higher `compute.disk_gb`, or make room on the volume"
            told = f"{what}: the machine's disk is full; {size(self.free)} were free in {self.place} before"
            return OutcomeError(Outcome.SETUP_FAILED, told, hint=hint)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        told = " / ".join(lines[-3:])[-600:] or f"exit code {done.code}"
        return OutcomeError(Outcome.SETUP_FAILED, f"{what}: {told}")


async def set_up(link: Link, place: str, *, own: Path | None = None) -> Ready:
    """Makes a machine ready to train, below `place`, an absolute path there; what is there already is left as it is.

    A machine that is ready is found to be in one round trip. Nothing of the image changes, and its torch is never replaced:
    where it is too old, or its Python is, lorry brings a Python and a torch of its own. On a network volume the next machine
    finds what this one has installed; two machines at once do not disturb each other. Raises OutcomeError IMAGE_BROKEN,
    TORCH_UNFIT, NOT_AS_SOLD (the GPU does not work), SETUP_FAILED; SSH_DOWN as the link does. `own` is lorry's wheel, where
    it is built already.
    """
    machine = _Machine(link, place.rstrip("/"))
    with machine.step("look"):
        plan = way(await _look(machine))
    machine.free = plan.look.free
    if plan.base:
        with machine.step("python"):
            plan = await _with_own_python(machine, plan)
    site = f"{machine.place}/{plan.site}" if plan.packages else ""
    if not plan.is_there:
        with machine.step("install"):
            await _install(machine, plan)
    with tempfile.TemporaryDirectory() as folder:
        built = own or await asyncio.to_thread(wheel.build, Path(folder))
        lorry = f"{machine.place}/lorry-{wheel.version_of(built)}"
        if PurePosixPath(lorry).name not in plan.look.lorries:
            with machine.step("lorry"):
                await _send_lorry(machine, plan.look.python, lorry, built)
    environment = _environment(plan.look, lorry, site)
    if plan.look.gpus and plan.trial not in plan.look.tried:
        with machine.step("gpu"):
            await _try_gpu(machine, plan, environment)
    return Ready(plan.look.python, site, environment, machine.seconds, plan.torch, tuple(map(clean, plan.look.gpus)))


async def _look(machine: _Machine) -> list[Look]:
    """What the machine's Pythons tell, the likeliest first, up to the first that will do."""
    about = {"place": machine.place, "pythons": lock.PYTHONS, "torch": oldest_torch()}
    arguments = json.dumps({"do": "look", **about})
    command = _LOOK.replace("ARGUMENTS", shlex.quote(arguments))
    done = await machine.link.run(command, stdin=_source().encode(), seconds=_LOOK_SECONDS)
    return looks(_answers(done))


async def _with_own_python(machine: _Machine, plan: Way) -> Way:
    """Makes a Python that sees nothing of what the image has installed; the way on from there."""
    uv = await _uv(machine, plan.look)
    made = '"$HOME/.lorry/python"'
    command = f"rm -rf {made} && {uv} venv --quiet --no-project --python {shlex.quote(plan.base)} {made}"
    await machine.run("a Python of its own could not be made", command, seconds=_INSTALL_SECONDS)
    then = way(await _look(machine))
    if then.base:
        raise OutcomeError(Outcome.SETUP_FAILED, "the Python that was made on the machine cannot be found there")
    return then


async def _install(machine: _Machine, plan: Way) -> None:
    """Installs what the machine lacks aside, and lets it be found once it is whole."""
    uv = await _uv(machine, plan.look)
    part = f"{machine.place}/{plan.site}.{secrets.token_hex(6)}.part"
    python, quoted = shlex.quote(plan.look.python), shlex.quote(part)
    pins = "".join(f"{name}=={version}\n" for name, version in plan.packages.items())
    leavings = f"find {shlex.quote(machine.place)} -maxdepth 1 -name '*.part' -mmin +1440 -exec rm -rf {{}} +"
    command = f"mkdir -p {quoted} && {{ {leavings}; {_INSTALL.format(uv=uv, python=python, part=quoted)}; }}"
    try:
        failed = "what lorry needs could not be installed"
        await machine.run(failed, command, stdin=pins.encode(), seconds=_INSTALL_SECONDS)
        arguments = {"do": "finish", "part": part, "folder": f"{machine.place}/{plan.site}", "packages": plan.packages}
        answer = await machine.prepare("what was installed could not be put in place", python, arguments)
        if answer.get("lacking") != []:
            told = f"uv did not install {clean(str(answer.get('lacking')))[:300]}"
            raise OutcomeError(Outcome.SETUP_FAILED, told)
    except BaseException as error:
        if not isinstance(error, OutcomeError) or error.outcome is not Outcome.SSH_DOWN:
            with suppress(OutcomeError, TimeoutError):
                await machine.link.run(f"rm -rf {quoted}", seconds=_CLEAR_SECONDS)
        raise


async def _uv(machine: _Machine, look: Look) -> str:
    """A `uv` on the machine, as shell words: the image's, else fetched with its pip, else this computer's own."""
    if look.uv:
        return shlex.quote(look.uv)
    own = '"$HOME/.lorry/uv/bin/uv"'
    if look.has_pip:
        words = f'{shlex.quote(look.python)} -m pip install --quiet --target "$HOME/.lorry/uv" {lock.installer()}'
        done = await machine.link.run(f"[ -x {own} ] || {words}", seconds=_STEP_SECONDS)
        if done.code == 0:
            return own
    program = _own_uv(look)
    if program is None:
        told, hint = "the machine has no `uv`, and pip fetches none", "name an image with uv in `compute.image`"
        raise OutcomeError(Outcome.SETUP_FAILED, told, hint=hint)
    put = f'mkdir -p "$HOME/.lorry/uv/bin" && cat >{own}.part && chmod 755 {own}.part && mv {own}.part {own}'
    await machine.run("uv could not be sent", put, stdin=program.read_bytes(), seconds=_INSTALL_SECONDS)
    return own


def _own_uv(look: Look) -> Path | None:
    """The `uv` of this computer, where it is installed and would run there."""
    is_alike = sys.platform == "linux" and look.markers.get("platform_machine") == platform.machine()
    try:
        return Path(importlib.import_module("uv").find_uv_bin()) if is_alike else None
    except (ImportError, FileNotFoundError):
        return None


async def _send_lorry(machine: _Machine, python: str, lorry: str, built: Path) -> None:
    """Puts lorry's wheel, which is nothing but files, into a folder of its version."""
    made = f"mkdir -p {shlex.quote(machine.place)} && {shlex.quote(python)}"
    content = await asyncio.to_thread(_packed, built)
    arguments = {"do": "unpack", "folder": lorry}
    await machine.prepare("lorry could not be put on the machine", made, arguments, stdin=content)


@lru_cache(maxsize=2)
def _packed(built: Path) -> bytes:
    """A wheel as it is sent; its name tells its content, so that one is packed once for all machines."""
    return zlib.compress(built.read_bytes())


async def _try_gpu(machine: _Machine, plan: Way, environment: Mapping[str, str]) -> None:
    """Runs torch on the GPU: a build that is not for it, or a GPU that does not work, is found before training starts."""
    words = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    python = f"env {words} {shlex.quote(plan.look.python)}"
    error = ""
    for number in range(_GPU_TRIES):
        await asyncio.sleep(number * _GPU_PAUSE)
        answer = await machine.prepare("torch cannot be imported", python, {"do": "try", "remember": plan.trial})
        error = clean(mask(str(answer.get("error", ""))))[:500]
        if not error:
            return
        if any(sign in error for sign in _UNFIT):
            gpus = clean(", ".join(plan.look.gpus))
            told = f"torch {plan.torch} does not run on {gpus}: {error.splitlines()[0]}"
            hint = "name an image in `compute.image` whose torch is built for this GPU and driver"
            raise OutcomeError(Outcome.TORCH_UNFIT, told, hint=hint)
    raise OutcomeError(Outcome.NOT_AS_SOLD, f"the machine's GPU does not work: {error.splitlines()[0]}")


def _environment(look: Look, own: str, site: str) -> dict[str, str]:
    found = {"PYTHONPATH": ":".join(path for path in (own, site) if path)}
    if look.library_path:
        found["LD_LIBRARY_PATH"] = look.library_path
    return found


def _source() -> str:
    return files("lorry.compute.machine.on_machine").joinpath("prepare.py").read_text(encoding="utf-8")


def _answers(done: Done) -> list[Any]:
    """What `on_machine/prepare.py` answered, among whatever else a session prints."""
    found: list[Any] = []
    for line in done.out.splitlines():
        if line.startswith(_MARK):
            with suppress(ValueError, RecursionError):
                found.append(json.loads(line.removeprefix(_MARK)))
    return found
