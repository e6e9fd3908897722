"""The user's own code on a machine, from real repositories, and addresses that must not reach git."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from local_machine import Done, LocalLink, ScriptedLink
from lorry.compute.machine.cloning import clone, parse
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.errors import RecipeError

COMMIT = "a" * 40


def git(folder: Path, *words: str) -> str:
    names = {
        f"GIT_{role}_{what}": "someone@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    variables = {**os.environ, **names, "GIT_CONFIG_GLOBAL": "/dev/null"}
    done = subprocess.run(["git", *words], cwd=folder, env=variables, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits; the first is tagged `v1`, the second is `main`'s."""
    folder = tmp_path / "their code"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    for number in (1, 2):
        (folder / "reward.py").write_text(f"VERSION = {number}\n")
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "--message", f"version {number}")
        if number == 1:
            git(folder, "tag", "--annotate", "v1", "--message", "one")
    return folder


def cloned(tmp_path: Path, repository: Path, ref: str) -> tuple[str, LocalLink]:
    link = LocalLink(tmp_path / "home")
    url = f"file://{repository}".replace(" ", "%20")
    return asyncio.run(clone(link, str(tmp_path / "home/a place"), f"{url}@{ref}")), link


@pytest.mark.parametrize(("ref", "version"), [("HEAD~1", 1), ("HEAD", 2)])
def test_commit_is_there_as_it_was_made(tmp_path, repository, ref, version):
    commit = git(repository, "rev-parse", ref)
    folder, _ = cloned(tmp_path, repository, commit)
    assert folder == f"{tmp_path}/home/a place/code-{commit}"
    assert Path(folder, "reward.py").read_text() == f"VERSION = {version}\n"
    assert [path.name for path in Path(folder).parent.iterdir()] == [f"code-{commit}"]


@pytest.mark.parametrize(("ref", "commit", "version"), [("v1", "HEAD~1", 1), ("main", "HEAD", 2)])
def test_tag_or_branch_is_resolved_and_the_folder_says_to_what(tmp_path, repository, ref, commit, version):
    folder, _ = cloned(tmp_path, repository, ref)
    assert folder.endswith("/code-" + git(repository, "rev-parse", commit))
    assert Path(folder, "reward.py").read_text() == f"VERSION = {version}\n"


def test_commit_that_is_there_already_is_not_fetched_again(tmp_path, repository):
    commit = git(repository, "rev-parse", "HEAD")
    first, _ = cloned(tmp_path, repository, commit)
    repository.rename(tmp_path / "gone")
    assert cloned(tmp_path, repository, commit)[0] == first


@pytest.mark.parametrize(
    ("ref", "told"),
    [("b" * 40, "b" * 40), ("no-such-branch", "no such tag or branch"), (COMMIT[:7], "no such tag or branch")],
)
def test_commit_that_is_not_there_is_told_and_leaves_nothing(tmp_path, repository, ref, told):
    with pytest.raises(OutcomeError, match=told) as caught:
        cloned(tmp_path, repository, ref)
    assert caught.value.outcome is Outcome.CLONE_FAILED
    assert caught.value.hint
    assert not list((tmp_path / "home").glob("a place/*"))


def test_repository_that_is_not_there_is_told_in_gits_words(tmp_path):
    with pytest.raises(OutcomeError, match=r"could not be cloned: [A-Za-z]"):
        cloned(tmp_path, tmp_path / "nowhere", COMMIT)


def test_machine_without_git_is_told(tmp_path, repository):
    link = LocalLink(tmp_path / "home", path="/nowhere")
    with pytest.raises(OutcomeError, match="the machine has no git"):
        asyncio.run(clone(link, str(tmp_path), f"file://{tmp_path}@main"))


def test_git_that_hangs_is_given_up(tmp_path):
    class Slow:
        async def run(self, command: str, **_: object) -> Done:
            if "fetch" in command:
                raise TimeoutError
            return Done(0, b"", b"")

    with pytest.raises(OutcomeError, match="not done in time") as caught:
        asyncio.run(clone(Slow(), "/place", f"https://example.org/a.git@{COMMIT}"))
    assert caught.value.outcome is Outcome.CLONE_FAILED


@pytest.mark.parametrize(
    "line", ["", "garbage", f"{COMMIT}\trefs/heads/other", "; rm -rf /\trefs/heads/main", "\xff\t\t"]
)
def test_machine_that_answers_nonsense_resolves_to_nothing(line):
    link = ScriptedLink(lambda *_: Done(0, line.encode("latin-1"), b""))
    with pytest.raises(OutcomeError, match="no such tag or branch"):
        asyncio.run(clone(link, "/place", "https://example.org/a.git@main"))
    assert len(link.commands) == 1


@pytest.mark.parametrize(
    ("code", "url", "ref"),
    [
        (f"https://example.org/a/b.git@{COMMIT}", "https://example.org/a/b.git", COMMIT),
        ("ssh://git@example.org:2222/a/b.git@v1.0", "ssh://git@example.org:2222/a/b.git", "v1.0"),
        ("git@example.org:a/b.git@feature/new", "git@example.org:a/b.git", "feature/new"),
        ("https://example.org:8443/b@main", "https://example.org:8443/b", "main"),
    ],
)
def test_address_and_commit_are_told_apart(code, url, ref):
    found = parse(code)
    assert (found.url, found.ref) == (url, ref)


@pytest.mark.parametrize(
    "code",
    [
        "",
        "main",
        "@main",
        "https://example.org/a.git",
        "https://example.org/a.git@",
        "git@example.org:a/b.git",
        f"--upload-pack=touch /tmp/x@{COMMIT}",
        f"-oProxyCommand=x://a@{COMMIT}",
        f"ext::sh -c touch%20x@{COMMIT}",
        f"http://example.org/a.git@{COMMIT}",
        f"ftp://example.org/a.git@{COMMIT}",
        f"ssh://-oProxyCommand=x/a.git@{COMMIT}",
        f"ssh://-u@example.org/a.git@{COMMIT}",
        f"git@-example.org:a.git@{COMMIT}",
        f"git@example.org:-a.git@{COMMIT}",
        f"https:///a.git@{COMMIT}",
        f"https://example.org:x/a.git@{COMMIT}",
        f"https://exa mple.org/a.git@{COMMIT}",
        f"https://example.org/a\n.git@{COMMIT}",
        f"file://host/a@{COMMIT}",
        "https://example.org/a.git@--force",
        "https://example.org/a.git@a..b",
        "https://example.org/a.git@a b",
        "https://example.org/a.git@a;b",
        "https://example.org/a.git@$(x)",
        "https://[::1/a.git@main",
    ],
)
def test_what_is_no_repository_and_commit_is_refused(code):
    with pytest.raises(RecipeError) as caught:
        parse(code)
    assert caught.value.hint
    assert caught.value.place == "compute.code"


@pytest.mark.parametrize(
    "address",
    [
        "https://someone:hunter2secret@example.org/a.git",
        "https://hunter2secret@example.org/a.git",
        "ssh://git:hunter2secret@example.org/a",
        "https://example.org/a.git?token=hunter2secret",
    ],
)
def test_secret_in_an_address_is_refused_and_not_repeated(address):
    with pytest.raises(RecipeError, match="no name, password or token") as caught:
        parse(f"{address}@{COMMIT}")
    assert "hunter2secret" not in str(caught.value) + caught.value.hint
