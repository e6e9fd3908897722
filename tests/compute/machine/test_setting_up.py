"""Setting a machine up, on machines that are folders here: what is installed, what is left alone, what goes wrong."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

import lorry
from local_machine import Done, LocalLink, ScriptedLink
from lorry.compute.machine import lock, seen
from lorry.compute.machine.on_machine import prepare
from lorry.compute.machine.setting_up import Ready, set_up
from lorry.compute.outcomes import Outcome, OutcomeError

PREPARE = Path(lorry.__file__).parent / "compute/machine/on_machine/prepare.py"
UV = [sys.executable, "-m", "uv"]
PINS = lock.pins(prepare.markers())


class Image:
    """An image's Python that has installed what the test says, in a folder; `uv` finds packages in a folder too."""

    def __init__(self, folder: Path, *, torch: str = "2.9.1+cu128", lacks: tuple[str, ...] = ()) -> None:
        self.folder = folder
        subprocess.run(
            [*UV, "venv", "--quiet", "--no-project", "--python", sys.executable, folder / "venv"], check=True
        )
        self.packages = next((folder / "venv/lib").glob("python*/site-packages"))
        for name, version in PINS.packages.items():
            if name not in lacks:
                self.install(name, version)
        if torch:
            (self.packages / "torch").mkdir()
            cuda = "cuda: Optional[str] = '12.8'" if "+cu" in torch else "cuda: Optional[str] = None"
            (self.packages / "torch/version.py").write_text(f"__version__ = '{torch}'\ndebug = False\n{cuda}\n")
        self.wheels = folder / "wheels"
        self.wheels.mkdir()
        for name in lacks:
            tiny_wheel(self.wheels, name, PINS.packages[name])

    def install(self, name: str, version: str) -> None:
        """Only what tells that it is installed."""
        (self.packages / f"{name.replace('-', '_')}-{version}.dist-info").mkdir()

    def link(self, home: Path, **variables: str) -> LocalLink:
        bin_folder = self.folder / "bin"
        bin_folder.mkdir(exist_ok=True)
        if not (bin_folder / "uv").exists():
            (bin_folder / "uv").write_text(f'#!/bin/sh\nexec {shlex.join(UV)} "$@"\n')
            (bin_folder / "uv").chmod(0o755)
        fixed = {
            "LORRY_PYTHON": str(self.folder / "venv/bin/python"),
            "UV_OFFLINE": "1",
            "UV_FIND_LINKS": str(self.wheels),
        }
        return LocalLink(home, path=f"{bin_folder}:{os.environ['PATH']}", variables={**fixed, **variables})


def tiny_wheel(folder: Path, name: str, version: str) -> None:
    """A wheel with one module, named like a real one."""
    module, about = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as made:
        made.writestr(f"{module}.py", f"VERSION = {version!r}\n")
        made.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        made.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        made.writestr(f"{about}/RECORD", "")


def ready(link: LocalLink | ScriptedLink, place: Path | str) -> Ready:
    return asyncio.run(set_up(link, str(place)))


def run_in(found: Ready, code: str) -> str:
    words = [found.python, "-c", code]
    variables = {"PATH": os.environ["PATH"], **found.environment}
    return subprocess.run(words, env=variables, check=True, capture_output=True, text=True).stdout.strip()


def test_machine_that_has_everything_gets_lorry_and_nothing_else(tmp_path):
    link = LocalLink(tmp_path / "home", variables={"LORRY_PYTHON": sys.executable, "UV_OFFLINE": "1"})
    found = ready(link, tmp_path / "a place")
    assert (found.site, set(found.seconds)) == ("", {"look", "lorry"})
    assert run_in(found, "import lorry; print(lorry.__file__)").startswith(str(tmp_path / "a place/lorry-0.1.0+c"))
    assert run_in(found, "from importlib.metadata import version; print(version('lorry'))").startswith("0.1.0+c")
    again = LocalLink(tmp_path / "home", variables=link.variables)
    second = ready(again, tmp_path / "a place")
    assert (second.python, second.environment) == (found.python, found.environment)
    assert len(again.commands) == 1
    assert sum(second.seconds.values()) < 1


def test_python_of_a_machine_is_found_without_being_told(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "bin/python3").chmod(0o755)
    found = ready(LocalLink(tmp_path / "home", path=f"{tmp_path}/bin:{os.environ['PATH']}"), tmp_path / "place")
    assert found.python == sys.executable


def test_only_what_an_image_lacks_is_installed_beside_its_own_torch(tmp_path):
    image = Image(tmp_path / "image", lacks=("jiwer", "rapidfuzz"))
    image.install("jiwer", "0.1")
    before = sorted(path.name for path in image.packages.iterdir())
    found = ready(image.link(tmp_path / "home"), tmp_path / "place")
    assert found.torch == "2.9.1+cu128"
    assert sorted(path.name for path in Path(found.site).glob("*.py")) == ["jiwer.py", "rapidfuzz.py"]
    assert run_in(found, "import jiwer; print(jiwer.VERSION)") == PINS.packages["jiwer"]
    assert sorted(path.name for path in image.packages.iterdir()) == before
    assert not list((tmp_path / "place").glob("*.part"))


def test_second_machine_on_a_volume_finds_what_the_first_installed(tmp_path):
    image = Image(tmp_path / "image", lacks=("jiwer",))
    first = ready(image.link(tmp_path / "one"), tmp_path / "volume")
    shutil.rmtree(image.wheels)
    second = ready(image.link(tmp_path / "two"), tmp_path / "volume")
    assert second.site == first.site
    assert set(second.seconds) == {"look"}


def test_images_that_lack_different_things_do_not_share_a_site(tmp_path):
    first = ready(Image(tmp_path / "a", lacks=("jiwer",)).link(tmp_path / "one"), tmp_path / "volume")
    second = ready(Image(tmp_path / "b", lacks=("rapidfuzz",)).link(tmp_path / "two"), tmp_path / "volume")
    assert first.site != second.site


def test_machines_at_once_on_a_volume_do_not_disturb_each_other(tmp_path):
    image = Image(tmp_path / "image", lacks=("jiwer",))

    async def all_at_once() -> list[Ready]:
        links = [image.link(tmp_path / f"home{number}") for number in range(4)]
        return await asyncio.gather(*(set_up(link, str(tmp_path / "volume")) for link in links))

    found = asyncio.run(all_at_once())
    assert len({one.site for one in found}) == 1
    assert run_in(found[0], "import jiwer, lorry; print(jiwer.VERSION)") == PINS.packages["jiwer"]
    assert not list((tmp_path / "volume").glob("*.part"))


def test_site_that_was_spoiled_is_made_again(tmp_path):
    image = Image(tmp_path / "image", lacks=("jiwer", "rapidfuzz"))
    found = ready(image.link(tmp_path / "home"), tmp_path / "volume")
    shutil.rmtree(next(Path(found.site).glob("jiwer-*.dist-info")))
    (Path(found.site) / "jiwer.py").unlink()
    again = ready(image.link(tmp_path / "home"), tmp_path / "volume")
    assert again.site == found.site
    assert run_in(again, "import jiwer; print(jiwer.VERSION)") == PINS.packages["jiwer"]


@pytest.mark.parametrize("torch", ["", "2.1.0+cu118"])
def test_image_without_a_torch_that_fits_gets_a_python_and_a_torch_apart_from_its_own(tmp_path, torch):
    image = Image(tmp_path / "image", torch=torch)
    for name, version in {**PINS.packages, **PINS.torch}.items():
        tiny_wheel(image.wheels, name, version)
    found = ready(image.link(tmp_path / "home"), tmp_path / "place")
    assert found.python == str(tmp_path / "home/.lorry/python/bin/python")
    assert found.torch == PINS.torch["torch"]
    assert run_in(found, "import torch, jiwer; print(torch.VERSION)") == PINS.torch["torch"]
    assert str(image.packages) not in run_in(found, "import sys; print(sys.path)")
    second = ready(image.link(tmp_path / "home"), tmp_path / "place")
    assert (second.python, set(second.seconds)) == (found.python, {"look"})


def fake_uv(image: Image, home: Path, script: str) -> LocalLink:
    link = image.link(home)
    (image.folder / "bin/uv").write_text(f"#!/bin/sh\n{script}\n")
    return link


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo 'error: Failed to fetch: `https://index.invalid/jiwer/`' >&2; exit 2", "Failed to fetch"),
        ("exit 3", "exit code 3"),
        ("printf 'a\\033[31mb\\n' >&2; exit 1", "a\\\\x1b"),
        ("exit 0", r"uv did not install \[.jiwer"),
        ("head -c 3000000 /dev/zero | tr '\\0' x; exit 1", "xxx"),
    ],
)
def test_installing_that_fails_is_told_with_its_last_lines_and_leaves_nothing(tmp_path, script, told):
    image = Image(tmp_path / "image", lacks=("jiwer",))
    with pytest.raises(OutcomeError, match=told) as caught:
        ready(fake_uv(image, tmp_path / "home", script), tmp_path / "place")
    assert caught.value.outcome is Outcome.SETUP_FAILED
    assert len(str(caught.value)) < 1000
    assert not list((tmp_path / "place").glob("site-*"))


def test_full_disk_is_told_as_such(tmp_path):
    image = Image(tmp_path / "image", lacks=("jiwer",))
    link = fake_uv(
        image, tmp_path / "home", "echo 'error: failed to write: No space left on device (os error 28)' >&2; exit 2"
    )
    with pytest.raises(OutcomeError, match=r"disk is full; .* were free") as caught:
        ready(link, tmp_path / "place")
    assert "compute.disk_gb" in caught.value.hint


def test_uv_is_fetched_with_pip_where_the_image_has_none(tmp_path):
    image = Image(tmp_path / "image", lacks=("jiwer",))
    (image.packages / "pip").mkdir()
    (image.packages / "pip/__init__.py").touch()
    put = "p = sys.argv[sys.argv.index('--target') + 1] + '/bin'; os.makedirs(p)"
    text = f'#!/bin/sh\\nexec {shlex.join(UV)} \\"$@\\"\\n'
    fake = (
        f'import os, sys; {put}; open(p + "/uv", "w").write("{text}"); os.chmod(p + "/uv", 0o755); print(sys.argv[-1])'
    )
    (image.packages / "pip/__main__.py").write_text(fake)
    link = image.link(tmp_path / "home")
    (image.folder / "bin/uv").unlink()
    link.path = "/usr/bin:/bin"
    assert run_in(ready(link, tmp_path / "place"), "import jiwer; print(1)") == "1"
    assert (tmp_path / "home/.lorry/uv/bin/uv").exists()


def test_uv_of_this_computer_is_sent_where_there_is_neither_uv_nor_pip(tmp_path):
    image = Image(tmp_path / "image", lacks=("jiwer",))
    link = image.link(tmp_path / "home")
    (image.folder / "bin/uv").unlink()
    link.path = "/usr/bin:/bin"
    assert run_in(ready(link, tmp_path / "place"), "import jiwer; print(1)") == "1"


def test_machine_without_python_has_a_broken_image():
    with pytest.raises(OutcomeError, match="no Python") as caught:
        ready(ScriptedLink(lambda *_: Done(0, b"Welcome!\n", b"")), "/place")
    assert caught.value.outcome is Outcome.IMAGE_BROKEN


def test_machine_that_does_not_answer_in_time_is_told(tmp_path):
    def hang(*_: object) -> Done:
        raise TimeoutError

    with pytest.raises(OutcomeError, match="look: not done after") as caught:
        ready(ScriptedLink(hang), "/place")
    assert caught.value.outcome is Outcome.SETUP_FAILED


def report(**more: object) -> dict[str, object]:
    """What a machine tells that has all that is needed."""
    fields = {
        "python": "/usr/bin/python3",
        "is_own": False,
        "torch": "2.9.1+cu128",
        "cuda": "12.8",
        "uv": "/usr/bin/uv",
    }
    fields |= {"markers": prepare.markers(), "distributions": dict(PINS.packages), "has_pip": True, "free": 10**11}
    fields |= {
        "sites": {},
        "lorries": [],
        "tried": [],
        "gpus": [],
        "driver": "",
        "has_compat": False,
        "library_path": "",
    }
    return {**fields, **more}


def scripted(look: Mapping[str, object], tries: list[str]) -> ScriptedLink:
    """A machine with that report, whose torch says these errors in turn."""

    def answer(command: str, stdin: bytes) -> Done:
        if b"def look" in stdin:
            told = look
        elif '"do": "try"' in command:
            told = {"error": tries.pop(0)}
        else:
            told = {"lacking": []}
        return Done(0, f"motd\nlorry: {json.dumps(told)}\n".encode(), b"")

    return ScriptedLink(answer)


@pytest.mark.parametrize(
    "answer", [b"", b"lorry: []\n", b"lorry: {", b"lorry: {}\nlorry: {}\n", b"lorry: " + b"[" * 100_000]
)
def test_step_without_a_proper_answer_is_told(answer):
    look = f"lorry: {json.dumps(report())}\n".encode()
    link = ScriptedLink(lambda _, stdin: Done(0, look if b"def look" in stdin else answer, b""))
    with pytest.raises(OutcomeError, match="lorry could not be put on the machine: the machine gave no answer"):
        ready(link, "/place")


def test_gpu_is_tried_once_a_machine(tmp_path):
    look = report(gpus=["NVIDIA H200"], driver="580.1", library_path="/usr/local/cuda/compat")
    found = ready(scripted(look, [""]), "/place")
    assert found.gpus == ("NVIDIA H200",)
    assert found.environment["LD_LIBRARY_PATH"] == "/usr/local/cuda/compat"
    site = seen.way(seen.looks([look])).trial
    assert "gpu" not in ready(scripted({**look, "tried": [site]}, []), "/place").seconds


@pytest.mark.parametrize(
    "error",
    [
        "RuntimeError: CUDA error: no kernel image is available for execution on the device",
        "AssertionError: Torch not compiled with CUDA enabled",
        "RuntimeError: The NVIDIA driver on your system is too old (found version 12040).",
    ],
)
def test_torch_that_is_not_built_for_the_gpu_is_the_images_fault(error):
    with pytest.raises(OutcomeError, match="does not run on NVIDIA B200") as caught:
        ready(scripted(report(gpus=["NVIDIA B200"]), [error]), "/place")
    assert caught.value.outcome is Outcome.TORCH_UNFIT
    assert "compute.image" in caught.value.hint


def test_gpu_that_does_not_work_is_the_machines_fault_and_one_that_needs_a_moment_is_not(monkeypatch):
    monkeypatch.setattr("lorry.compute.machine.setting_up._GPU_PAUSE", 0)
    error = "RuntimeError: CUDA error 802: system not yet initialized"
    assert ready(scripted(report(gpus=["NVIDIA H100"]), [error, ""]), "/place").gpus
    with pytest.raises(OutcomeError, match=r"GPU does not work: .*802") as caught:
        ready(scripted(report(gpus=["NVIDIA H100"]), [error] * 3), "/place")
    assert caught.value.outcome is Outcome.NOT_AS_SOLD


def test_driver_too_old_for_the_torch_that_would_be_fetched_is_told_before_it_is():
    look = report(torch="2.1.0+cu121", gpus=["NVIDIA A40"], driver="535.104.05")
    with pytest.raises(OutcomeError, match=r"needs NVIDIA's driver 580 or later; the machine has 535\.104") as caught:
        ready(scripted(look, []), "/place")
    assert caught.value.outcome is Outcome.TORCH_UNFIT
    assert seen.way(seen.looks([{**look, "has_compat": True}])).base == "/usr/bin/python3"


def aged(version: str) -> dict[str, str]:
    return {**prepare.markers(), "python_version": version, "python_full_version": f"{version}.4"}


@pytest.mark.parametrize(
    ("pythons", "base", "python"),
    [
        (["3.9"], "3.12", 0),
        (["3.14"], "3.12", 0),
        (["3.9", "3.12"], "/usr/bin/python3", 1),
    ],
)
def test_python_out_of_the_locks_range_is_not_used(pythons, base, python):
    found = [report(markers=aged(version), torch="2.9.1" if version in ("3.9", "3.14") else "") for version in pythons]
    plan = seen.way(seen.looks(found))
    assert plan.base == base
    assert plan.torch == PINS.torch["torch"]


@pytest.mark.parametrize(
    "broken",
    [
        [],
        "text",
        {},
        report(python="python3"),
        report(python="/bin/x\n/bin/y"),
        report(markers={}),
        report(markers=aged("3.x")),
        report(sites={"a": 1}),
        report(free="much"),
        report(torch=None),
        {"a": "x" * 100_000},
    ],
)
def test_report_that_makes_no_sense_is_told(broken):
    with pytest.raises(OutcomeError, match="makes no sense") as caught:
        ready(scripted(broken, []), "/place")
    assert caught.value.outcome is Outcome.SETUP_FAILED
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("torch", ["garbage", "2", "$(x)", "9" * 5000, "2.7.1"])
def test_torch_of_no_use_is_not_used(torch):
    assert seen.way(seen.looks([report(torch=torch)])).base


def test_what_runs_on_the_machine_is_python_3_8():
    ast.parse(PREPARE.read_text(), feature_version=(3, 8))


def python_here(version: str) -> str:
    beside = sorted(Path(sys.base_prefix).parent.glob(f"{version}.*/bin/python"))
    found = next(iter(map(str, beside)), shutil.which(f"python{version}"))
    if found is None:
        pytest.skip(f"there is no Python {version} here")
    return found


def test_image_whose_python_is_too_old_gets_one_that_uv_finds(tmp_path):
    image, old, new = Image(tmp_path / "image", torch=""), python_here("3.9"), python_here("3.12")
    for name, version in {**PINS.packages, **PINS.torch}.items():
        tiny_wheel(image.wheels, name, version)
    link = image.link(tmp_path / "home", LORRY_PYTHON=old)
    link.path = f"{link.path.split(':')[0]}:{Path(new).parent}:/usr/bin:/bin"
    found = ready(link, tmp_path / "place")
    assert (
        run_in(found, "import sys, torch; print(sys.version_info[:2], torch.VERSION)")
        == f"(3, 12) {PINS.torch['torch']}"
    )


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.13"])
def test_old_and_new_pythons_tell_of_themselves(tmp_path, version):
    python = python_here(version)
    arguments = {"do": "look", "place": str(tmp_path), "pythons": lock.PYTHONS, "torch": "2.8"}
    done = subprocess.run(
        [python, "-c", PREPARE.read_text(), json.dumps(arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    look = seen.looks([json.loads(done.stdout.removeprefix("lorry: "))])[0]
    assert look.markers["python_version"] == version


def test_versions_are_read_as_the_packages_tell_them():
    found = prepare.distributions(map(Path, sys.path))
    assert {name: found.get(name) for name in PINS.packages} == PINS.packages
