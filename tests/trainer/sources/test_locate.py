"""Where models come from: every kind, and every way in which one cannot be had."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from lorry.errors import MissingExtraError, ModelError
from lorry.recipe.schema import ModelSettings
from lorry.trainer.sources import converted
from lorry.trainer.sources.locate import Source, locate
from model_folders import VOCABULARY, save_gguf, save_model, weights, write_json
from tiny_vision import save_vision

PICKLED = "pytorch_model.bin"


def settings(id: str | Path, **changes: str) -> ModelSettings:  # noqa: A002
    return ModelSettings(id=str(id), **changes)  # type: ignore[arg-type]


def located(id: str | Path, base: Path, **changes: str) -> Source:  # noqa: A002
    return locate(settings(id, **changes), base)


def refusal(id: str | Path, base: Path, **changes: str) -> ModelError:  # noqa: A002
    with pytest.raises(ModelError) as caught:
        located(id, base, **changes)
    assert caught.value.hint
    return caught.value


# --- folders


def test_folder_is_used_where_it_lies_and_paths_start_from_the_recipe(tmp_path: Path):
    folder = save_model(tmp_path / "models" / "tiny")
    source = located("models/tiny", tmp_path)
    assert (source.kind, source.folder, source.revision, source.notes) == ("folder", folder, None, [])


def test_path_that_does_not_exist_is_refused_with_the_whole_path(tmp_path: Path):
    assert str(tmp_path / "nowhere") in str(refusal("./nowhere", tmp_path))


def test_folder_without_config_is_refused(tmp_path: Path):
    folder = save_model(tmp_path / "tiny")
    (folder / "config.json").unlink()
    assert "config.json" in str(refusal(folder, tmp_path))


def test_unreadable_config_is_refused(tmp_path: Path):
    folder = save_model(tmp_path / "tiny")
    (folder / "config.json").write_text("{", encoding="utf-8")
    assert "not readable JSON" in str(refusal(folder, tmp_path))


def test_adapter_given_as_model_is_told_where_it_belongs(tmp_path: Path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    write_json(folder / "adapter_config.json", {"base_model_name_or_path": "some/base"})
    error = refusal(folder, tmp_path)
    assert "is an adapter" in error.message
    assert "model.adapter" in error.hint
    assert "some/base" in error.hint


def test_unknown_architecture_is_refused(tmp_path: Path):
    assert "`warpdrive`" in str(refusal(save_model(tmp_path / "tiny", model_type="warpdrive"), tmp_path))


def test_model_that_generates_no_text_is_refused(tmp_path: Path):
    assert "text-generating" in str(refusal(save_model(tmp_path / "tiny", model_type="vit"), tmp_path))


def test_missing_tokenizer_is_refused(tmp_path: Path):
    folder = save_model(tmp_path / "tiny")
    (folder / "tokenizer.json").unlink()
    assert "no tokenizer" in str(refusal(folder, tmp_path))


def test_missing_weights_are_refused_only_where_weights_are_wanted(tmp_path: Path):
    folder = save_model(tmp_path / "tiny")
    (folder / "model.safetensors").unlink()
    assert "no weights" in str(refusal(folder, tmp_path))
    assert locate(settings(folder), tmp_path, weights=False).folder == folder


def test_missing_shard_is_named(tmp_path: Path):
    folder = save_model(tmp_path / "tiny")
    write_json(
        folder / "model.safetensors.index.json", {"weight_map": {"a": "model.safetensors", "b": "two.safetensors"}}
    )
    assert "two.safetensors" in str(refusal(folder, tmp_path))


def test_weights_cut_short_are_refused(tmp_path: Path):
    file = save_model(tmp_path / "tiny") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert "cut short" in str(refusal(file.parent, tmp_path))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no safetensors", b"\xff" * 40, b"\x02\0\0\0\0\0\0\0[]"])
def test_weights_that_are_no_safetensors_are_refused(content: bytes, tmp_path: Path):
    file = save_model(tmp_path / "tiny") / "model.safetensors"
    file.write_bytes(content)
    assert "safetensors file" in str(refusal(file.parent, tmp_path))


def test_lfs_pointer_is_called_one(tmp_path: Path):
    file = save_model(tmp_path / "tiny") / "model.safetensors"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", encoding="utf-8")
    assert "git lfs pull" in refusal(file.parent, tmp_path).hint


# --- code that comes with a model


def test_unknown_model_with_its_own_code_needs_trust_by_name(tmp_path: Path):
    folder = save_model(tmp_path / "tiny", model_type="warpdrive", auto_map={"AutoModelForCausalLM": "code.Model"})
    assert f"trust_remote_code: {folder}" in refusal(folder, tmp_path).hint
    assert located(folder, tmp_path, trust_remote_code=str(folder)).folder == folder


def test_known_model_with_its_own_code_uses_transformers_and_says_so(tmp_path: Path):
    folder = save_model(tmp_path / "tiny", auto_map={"AutoModelForCausalLM": "code.Model"})
    assert "is not run" in located(folder, tmp_path).notes[0]


# --- conversions


def test_gguf_becomes_safetensors_with_the_same_weights_once(tmp_path: Path):
    file = save_gguf(tmp_path / "tiny.gguf")
    source = located(file, tmp_path)
    made = load_file(source.folder / "model.safetensors")
    for name, tensor in weights().items():
        np.testing.assert_array_equal(made[name], tensor)
    assert source.revision is not None
    assert len(source.revision) == 64
    assert "converted once" in source.notes[0]
    again = locate(settings(file), tmp_path, weights=False)
    assert (again.folder, again.notes) == (source.folder, [])


def test_small_gguf_is_converted_whole_at_once(tmp_path: Path):
    light = locate(settings(save_gguf(tmp_path / "tiny.gguf")), tmp_path, weights=False)
    assert located(tmp_path / "tiny.gguf", tmp_path).folder == light.folder


def test_large_gguf_without_weights_keeps_template_and_splits_digits_as_its_model_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(converted, "SMALL", 0)
    source = locate(settings(save_gguf(tmp_path / "tiny.gguf")), tmp_path, weights=False)
    tokenizer = json.loads((source.folder / "tokenizer.json").read_text(encoding="utf-8"))
    assert tokenizer["pre_tokenizer"]["pretokenizers"][0] == {"type": "Digits", "individual_digits": True}
    assert "<|im_start|>" in (source.folder / "chat_template.jinja").read_text(encoding="utf-8")
    shapes = json.loads((source.folder / "tensors.json").read_text(encoding="utf-8"))
    assert shapes["model.embed_tokens.weight"] == [len(VOCABULARY), 32]
    assert not list(source.folder.glob("*.safetensors"))


def test_changed_gguf_is_converted_anew(tmp_path: Path):
    file = save_gguf(tmp_path / "tiny.gguf")
    first = locate(settings(file), tmp_path, weights=False)
    save_gguf(file, pre="unheard-of")
    second = locate(settings(file), tmp_path, weights=False)
    assert second.folder != first.folder
    assert "`unheard-of`" in second.notes[1]


def test_gguf_without_a_tensor_is_refused_by_the_tensors_name(tmp_path: Path):
    file = save_gguf(tmp_path / "tiny.gguf", leave_out="blk.0.ffn_up.weight")
    assert "model.layers.0.mlp.up_proj.weight" in str(refusal(file, tmp_path))


@pytest.mark.parametrize("keep", [0, 3, 200, -2000])
def test_gguf_cut_short_is_refused(keep: int, tmp_path: Path):
    file = save_gguf(tmp_path / "tiny.gguf")
    file.write_bytes(file.read_bytes()[:keep])
    assert "tiny.gguf" in str(refusal(file, tmp_path))
    assert [path for path in (tmp_path / "lorry-home" / "cache" / "models").iterdir() if path.is_dir()] == []


def test_folder_with_one_gguf_is_that_file_and_with_two_is_refused(tmp_path: Path):
    file = save_gguf(tmp_path / "folder" / "one.gguf")
    assert locate(settings(file.parent), tmp_path, weights=False).kind == "gguf"
    shutil.copy(file, file.with_name("two.gguf"))
    assert "one.gguf, two.gguf" in refusal(file.parent, tmp_path).hint


def test_two_who_ask_at_once_share_one_conversion(tmp_path: Path):
    file = save_gguf(tmp_path / "tiny.gguf")
    with ThreadPoolExecutor(2) as pool:
        sources = list(pool.map(lambda _: locate(settings(file), tmp_path, weights=False), range(2)))
    assert sources[0].folder == sources[1].folder
    assert len([path for path in sources[0].folder.parent.iterdir() if path.is_dir()]) == 1


def test_leftover_of_a_killed_conversion_is_removed(tmp_path: Path):
    file = save_gguf(tmp_path / "tiny.gguf")
    source = locate(settings(file), tmp_path, weights=False)
    left = source.folder.rename(source.folder.with_name(f".{source.folder.name}.abc"))
    (left / "lorry.json").unlink()
    assert locate(settings(file), tmp_path, weights=False).folder == source.folder
    assert not left.exists()


def test_folder_with_an_old_tokenizer_gets_a_new_one_and_keeps_its_weights(tmp_path: Path):
    folder = save_model(tmp_path / "tiny")
    (folder / "tokenizer.json").unlink()
    train_sentencepiece(folder)
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer", "eos_token": "</s>"})
    source = located(folder, tmp_path)
    assert source.folder != folder
    assert (source.folder / "tokenizer.json").exists()
    assert load_file(source.folder / "model.safetensors").keys() == weights().keys()


def train_sentencepiece(folder: Path) -> None:
    import sentencepiece

    text = folder.parent / "words.txt"
    text.write_text("\n".join(f"word {number} and more of the same" for number in range(200)), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "tokenizer"), vocab_size=60, model_type="bpe", minloglevel=2
    )


def test_pickled_weights_become_safetensors(tmp_path: Path):
    import torch

    folder = save_model(tmp_path / "tiny")
    (folder / "model.safetensors").unlink()
    torch.save({name: torch.from_numpy(tensor) for name, tensor in weights().items()}, folder / PICKLED)
    made = load_file(located(folder, tmp_path).folder / "model.safetensors")
    np.testing.assert_array_equal(made["model.norm.weight"], weights()["model.norm.weight"])


def test_pickled_weights_of_a_vision_model_become_safetensors_with_its_vision_part(tmp_path: Path):
    import torch
    from safetensors.torch import load_file as tensors

    folder = save_vision(tmp_path / "tiny")
    wanted = tensors(folder / "model.safetensors")
    torch.save(wanted, folder / PICKLED)
    (folder / "model.safetensors").unlink()
    made = tensors(located(folder, tmp_path).folder / "model.safetensors")
    assert any("vision" in name for name in made)
    assert made.keys() == wanted.keys()
    assert all(torch.equal(made[name], one) for name, one in wanted.items())


def test_pickle_that_would_run_code_is_refused_and_not_run(tmp_path: Path):
    folder = save_model(tmp_path / "tiny")
    (folder / "model.safetensors").unlink()
    ran = tmp_path / "ran"
    (folder / PICKLED).write_bytes(f"cos\nsystem\n(S'touch {ran}'\ntR.".encode())
    refusal(folder, tmp_path)
    assert not ran.exists()


def test_without_the_train_extra_a_conversion_says_what_to_install(tmp_path: Path):
    save_gguf(tmp_path / "tiny.gguf")
    done = in_python(
        "import sys; sys.modules['gguf'] = None\n"
        "import lorry.trainer.sources.converted as converted\n"
        "converted.find_spec = lambda name: None if name == 'gguf' else object()\n"
        "from lorry.errors import MissingExtraError\n"
        "try: locate(ModelSettings(id='tiny.gguf'), Path('.'))\n"
        "except MissingExtraError as error: print(error.exit_code, error.hint)",
        tmp_path,
    )
    assert done == "2 pip install 'lorry[train]'"
    assert MissingExtraError.exit_code == 2


def test_locating_imports_no_torch(tmp_path: Path):
    save_model(tmp_path / "tiny")
    done = in_python(
        "import sys; locate(ModelSettings(id='tiny'), Path('.'))\n"
        "print([name for name in ('torch', 'transformers', 'datasets') if name in sys.modules])",
        tmp_path,
    )
    assert done == "[]"


def in_python(code: str, folder: Path, **environment: str) -> str:
    """What a fresh interpreter prints, so that what it imports and the Hub's settings are its own."""
    start = (
        "from pathlib import Path\n"
        "from lorry.recipe.schema import ModelSettings\n"
        "from lorry.trainer.sources.locate import locate\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", start + code],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
