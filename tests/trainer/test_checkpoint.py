from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from lorry.trainer import checkpoint
from lorry.trainer.checkpoint import Contents, DamagedError
from lorry.trainer.process import work
from tiny_runs import begin, events_of, recipe, train_here


def folders(root, *names: str):
    for name in names:
        (root / name).mkdir()
    return root


def contents(step: int = 3) -> Contents:
    def write_weights(folder: Path) -> None:
        (folder / "adapter_config.json").write_text("{}")
        save_file({"a": torch.arange(4.0)}, folder / "adapter_model.safetensors")

    return Contents(step, write_weights, {"0.exp_avg": torch.ones(3)}, {"torch": torch.zeros(2)}, {"step": step})


def written(root: Path, *steps: int) -> list[Path]:
    return [checkpoint.write(root, contents(step)) for step in steps]


def refused(root: Path) -> tuple[Path | None, list[tuple[str, str]]]:
    """The newest checkpoint that verifies, and those that were rejected for it."""
    rejected: list[tuple[str, str]] = []
    found = checkpoint.newest(root, lambda place, reason: rejected.append((place.name, reason)))
    return found, rejected


def test_what_is_no_checkpoint_is_passed_over(tmp_path):
    root = folders(tmp_path, "step-000002", "step-000002.bak", "step-old", "damaged-step-000009")
    (root / "step-000003").touch()
    assert checkpoint.steps(root) == [2]
    assert checkpoint.steps(root / "nowhere") == []


def test_checkpoint_that_is_written_verifies_and_leaves_nothing_beside(tmp_path):
    (folder,) = written(tmp_path, 3)
    checkpoint.verify(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000003"]
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}


def damage(file: Path, how: str) -> None:
    content = bytearray(file.read_bytes())
    if how == "bit":
        content[len(content) // 2] ^= 4
    file.write_bytes({"bit": content, "cut": content[:-1], "empty": b""}[how])


@pytest.mark.parametrize("how", ["bit", "cut", "empty"])
def test_every_damaged_file_of_a_real_checkpoint_is_noticed_named_and_passed_over(tmp_path, how):
    run = train_here(recipe(tmp_path, train={"steps": 4, "save_every": 2}))
    root = run.folder.checkpoints
    for name in sorted(path.name for path in (root / "step-000004").iterdir()):
        copy = tmp_path / f"{how}-{name}"
        shutil.copytree(root, copy)
        damage(copy / "step-000004" / name, how)
        found, rejected = refused(copy)
        assert found == copy / "step-000003"
        assert [place for place, _ in rejected] == ["damaged-step-000004"]
        assert name in rejected[0][1]


def test_every_single_bit_of_a_manifest_counts(tmp_path):
    (folder,) = written(tmp_path, 3)
    file = folder / checkpoint.MANIFEST
    whole = file.read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            with pytest.raises(DamagedError):
                checkpoint.verify(folder)


@pytest.mark.parametrize("name", [checkpoint.OPTIMIZER, checkpoint.STATE, checkpoint.MANIFEST])
def test_file_that_is_gone_is_noticed(tmp_path, name):
    (folder,) = written(tmp_path, 3)
    (folder / name).unlink()
    with pytest.raises(DamagedError, match="damaged or missing"):
        checkpoint.verify(folder)


def test_manifest_that_leads_out_of_its_folder_is_refused(tmp_path):
    (folder,) = written(tmp_path, 3)
    hashes = json.loads((folder / checkpoint.MANIFEST).read_text())["files"]
    (tmp_path / "secret").write_text("x")
    (folder / "link").symlink_to(tmp_path / "secret")
    for name in ("../secret", "link", str(tmp_path / "secret")):
        (folder / checkpoint.MANIFEST).write_text(checkpoint._manifest({**hashes, name: "0" * 64}))
        with pytest.raises(DamagedError):
            checkpoint.verify(folder)


def test_run_passes_over_a_damaged_checkpoint_names_it_and_ends_the_same(tmp_path):
    run = train_here(recipe(tmp_path, train={"steps": 8, "save_every": 2, "keep": 50}))
    wanted = load_file(run.adapter / "adapter_model.safetensors")
    damage(run.folder.checkpoints / "step-000008" / "optimizer.safetensors", "bit")
    damage(run.folder.checkpoints / "step-000006" / "rng.safetensors", "cut")
    assert work(run.folder.path) == 0
    told = [(Path(event.data["path"]).name, event.data["reason"]) for event in events_of(run, "rejected")]
    assert [name for name, _ in told] == ["damaged-step-000008", "damaged-step-000006"]
    assert "optimizer.safetensors" in told[0][1]
    found = load_file(run.adapter / "adapter_model.safetensors")
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)


def test_half_written_checkpoints_of_dead_processes_are_cleared_and_never_read(tmp_path):
    run = begin(recipe(tmp_path))
    half = run.folder.checkpoints / ".step-000004.999999999"
    half.mkdir(parents=True)
    (half / "state.json").write_text("{}")
    assert work(run.folder.path) == 0
    assert not half.exists()
    assert not events_of(run, "rejected")


def test_pruning_keeps_what_is_not_its_own(tmp_path):
    written(tmp_path, 1, 2, 3)
    folders(tmp_path, "step-old", "superseded-step-000002")
    checkpoint.prune(tmp_path, {3})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000003", "step-old", "superseded-step-000002"]


def test_mark_is_replaced_at_once(tmp_path):
    written(tmp_path, 1, 2)
    for step in (1, 2):
        checkpoint.mark(tmp_path, "best", step)
        assert (tmp_path / "best").resolve() == tmp_path / f"step-{step:06d}"


def test_checkpoint_put_aside_twice_keeps_both(tmp_path):
    for _ in range(2):
        checkpoint.put_aside(written(tmp_path, 5)[0], "damaged")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged-step-000005", "damaged-step-000005.2"]


def test_every_checkpoint_loads_in_plain_peft_with_its_tokenizer(tmp_path):
    run = train_here(recipe(tmp_path, train={"steps": 4, "save_every": 2}))
    for step in checkpoint.steps(run.folder.checkpoints):
        folder = checkpoint.path_of(run.folder.checkpoints, step)
        AutoPeftModelForCausalLM.from_pretrained(folder)
        assert AutoTokenizer.from_pretrained(folder).chat_template == (folder / "chat_template.jinja").read_text()


def test_nothing_in_a_checkpoint_unpickles(tmp_path):
    run = train_here(recipe(tmp_path, lora=None, train={"steps": 1}))
    suffixes = {path.suffix for path in (run.folder.checkpoints / "step-000001").iterdir()}
    assert suffixes <= {".json", ".safetensors", ".jinja"}


def test_best_and_final_are_marked(tmp_path):
    settings = {"steps": 12, "eval_every": 1, "learning_rate": 0.3, "schedule": "constant", "keep": 1}
    run = train_here(recipe(tmp_path, train=settings))
    losses = {event.step: event.data["loss"] for event in events_of(run, "evaluated")}
    best = min(losses, key=lambda step: losses[step])
    assert (run.folder.checkpoints / "best").readlink().name == f"step-{best:06d}"
    assert (run.folder.checkpoints / "final").readlink().name == "step-000012"
