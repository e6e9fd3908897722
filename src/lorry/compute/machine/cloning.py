"""The user's own code on a machine: one commit of a git repository, `compute.code: GIT_URL@COMMIT`."""

from __future__ import annotations

import re
import secrets
import shlex
from dataclasses import dataclass
from urllib.parse import urlsplit

from lorry.compute.machine.setting_up import Done, Link
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.errors import RecipeError
from lorry.secrets.masking import mask
from lorry.visible import clean

_PLACE = "compute.code"
_CLONE_SECONDS = 900.0
_ASK_SECONDS = 60.0
_REF = re.compile(r"(?![-/.])(?!.*(\.\.|//|@\{))[\w./+-]{1,200}(?<![/.])", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SHELL_URL = re.compile(r"git@[A-Za-z0-9][\w.-]*:(?!-)[\w./~+-]+", re.ASCII)
_QUIET = (
    "export GIT_TERMINAL_PROMPT=0 GIT_ASKPASS=true SSH_ASKPASS=true GIT_LFS_SKIP_SMUDGE=0 GIT_ALLOW_PROTOCOL=https:ssh:file "
    "GIT_SSH_COMMAND='ssh -oBatchMode=yes -oConnectTimeout=20 -oStrictHostKeyChecking=accept-new'; "
)
"""Nobody is there to be asked for a name or a password, and no other way of transport may be slipped in."""
_FETCH = """\
git init --quiet {part} && cd {part} && git remote add origin {url} && {{
  git fetch --quiet --depth 1 origin {commit} ||
  git fetch --quiet --tags origin '+refs/heads/*:refs/remotes/origin/*'
}} && git -c advice.detachedHead=false checkout --quiet {commit} &&
if [ -d {folder} ]; then rm -rf {part}; else mv {part} {folder}; fi"""
"""One commit alone where the server gives it, else everything there is."""


@dataclass(frozen=True)
class Code:
    """A repository and what of it is meant."""

    url: str
    ref: str
    """A commit in full, a tag or a branch."""

    @property
    def is_commit(self) -> bool:
        """Whether it can only ever mean one thing."""
        return _COMMIT.fullmatch(self.ref) is not None


def parse(code: str) -> Code:
    """The repository and the commit of `GIT_URL@COMMIT`. Raises RecipeError; nothing is asked of anybody."""
    url, _, ref = code.strip().rpartition("@")
    usage = "write `compute.code: https://host/path.git@COMMIT`"
    if "://" in url or _SHELL_URL.fullmatch(url):
        _check_url(url)
    else:
        told = "is no `GIT_URL@COMMIT` with an address that begins with `https://`, `ssh://` or `git@`"
        raise RecipeError(f"`{_shown(code)}` {told}", hint=usage, place=_PLACE)
    if not _REF.fullmatch(ref):
        raise RecipeError(f"`{_shown(ref)}` names no commit, tag or branch", hint=usage, place=_PLACE)
    return Code(url, ref)


async def clone(link: Link, place: str, code: str) -> str:
    """Clones one commit on a machine, below `place`; the folder there, `code-<commit>` in full. It may be there already.

    A tag or a branch is what it is now: the folder's name tells the commit. Submodules are not fetched. Raises RecipeError for
    what is no repository and commit, OutcomeError CLONE_FAILED where git fails or takes more than 15 minutes.
    """
    wanted = parse(code)
    try:
        commit = wanted.ref if wanted.is_commit else await _resolved(link, wanted)
        folder = f"{place.rstrip('/')}/code-{commit}"
        await _fetch(link, wanted.url, commit, folder)
    except TimeoutError:
        raise _failed(wanted, "git was not done in time", "try it there by hand: `lorry ssh`") from None
    return folder


async def _resolved(link: Link, code: Code) -> str:
    """The commit that a tag, or else a branch, is at."""
    names = (f"refs/tags/{code.ref}^{{}}", f"refs/tags/{code.ref}", f"refs/heads/{code.ref}")
    words = " ".join(map(shlex.quote, (code.url, *names)))
    done = await link.run(f"{_QUIET}git ls-remote -- {words}", seconds=_ASK_SECONDS)
    _check(done, code)
    lines = [line.split() for line in done.out.decode(errors="replace").splitlines()]
    found = {words[1]: words[0] for words in lines if len(words) == 2 and _COMMIT.fullmatch(words[0])}
    commit = next((found[name] for name in names if name in found), None)
    if commit is None:
        hint = "a commit is written with all of its 40 digits; a branch or a tag by its name"
        raise _failed(code, "there is no such tag or branch", hint)
    return commit


async def _fetch(link: Link, url: str, commit: str, folder: str) -> None:
    part = f"{folder}.{secrets.token_hex(6)}.part"
    quoted = {
        name: shlex.quote(value)
        for name, value in {"url": url, "commit": commit, "folder": folder, "part": part}.items()
    }
    made = f"[ -d {quoted['folder']} ] || {{ {_QUIET}{_FETCH.format(**quoted)}; }}"
    code = Code(url, commit)
    try:
        _check(await link.run(made, seconds=_CLONE_SECONDS), code)
    except (OutcomeError, TimeoutError) as error:
        if not isinstance(error, OutcomeError) or error.outcome is Outcome.CLONE_FAILED:
            await link.run(f"rm -rf {quoted['part']}", seconds=_ASK_SECONDS)
        raise


def _check(done: Done, code: Code) -> None:
    if done.code == 0:
        return
    lines = [line.strip() for line in clean(mask(done.err.decode(errors="replace"))).splitlines() if line.strip()]
    if done.code == 127:
        raise _failed(code, "the machine has no git", "name an image with git in `compute.image`")
    hint = "check the address and the commit; what is not public cannot be cloned, but files beside the recipe are sent along"
    raise _failed(code, lines[-1][-400:] if lines else f"git ended with exit code {done.code}", hint)


def _check_url(url: str) -> None:
    if _SHELL_URL.fullmatch(url):
        return
    hint = "an address begins with `https://`, `ssh://` or `git@`"
    try:
        parts = urlsplit(url)
        host, has_port = parts.hostname or "", parts.port is not None
    except ValueError:
        raise RecipeError(f"`{_shown(url)}` is no address", hint=hint, place=_PLACE) from None
    if parts.password is not None or (parts.username and parts.scheme != "ssh") or parts.query or parts.fragment:
        away = "clone from an address that needs no password, or leave `compute.code` out and keep the files beside the recipe"
        raise RecipeError("the address must hold no name, password or token", hint=away, place=_PLACE)
    if parts.scheme == "file":
        is_fine = not parts.netloc
    else:
        is_fine = (
            parts.scheme in ("https", "ssh")
            and bool(re.match(r"[a-z0-9\[]", host))
            and (has_port or ":" not in parts.netloc)
        )
    if not is_fine or not re.fullmatch(r"[\x21-\x7e]+", url) or (parts.username or "").startswith("-"):
        raise RecipeError(f"`{_shown(url)}` cannot be cloned from", hint=hint, place=_PLACE)


def _failed(code: Code, why: str, hint: str) -> OutcomeError:
    return OutcomeError(
        Outcome.CLONE_FAILED, f"`{_shown(code.url)}` at `{code.ref}` could not be cloned: {why}", hint=hint
    )


def _shown(text: str) -> str:
    return clean(mask(re.sub(r"//[^/@\s]*@", "//…@", text)))[:200]
