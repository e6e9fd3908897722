"""The five most usual configurations of other systems, trained as they are on a tiny model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from lorry.cli.main import run
from lorry.data.prepare import prepare
from lorry.data.tokenizer import Tokenizer
from lorry.recipe.load import load
from lorry.track.store import Store
from model_folders import save_model
from tiny_runs import chat_rows, events_of, train_here, write_rows

QUICK = ["evaluate.rows=2", "evaluate.max_new_tokens=4"]
AXOLOTL: dict[str, Any] = {
    "base_model": "model",
    "adapter": "lora",
    "lora_r": 4,
    "lora_alpha": 8,
    "lora_target_linear": True,
    "sequence_len": 256,
    "micro_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "max_steps": 3,
    "optimizer": "adamw_torch_fused",
    "lr_scheduler": "cosine",
    "learning_rate": 0.01,
    "warmup_steps": 1,
    "val_set_size": 2,
    "flash_attention": True,
    "output_dir": "./out",
}
FACTORY: dict[str, Any] = {
    "model_name_or_path": "model",
    "stage": "sft",
    "do_train": True,
    "finetuning_type": "lora",
    "lora_rank": 4,
    "lora_target": "all",
    "dataset": "talk,facts",
    "cutoff_len": 256,
    "output_dir": "saves",
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 2,
    "learning_rate": 0.01,
    "max_steps": 3,
    "lr_scheduler_type": "cosine",
    "warmup_ratio": 0.1,
    "val_size": 2,
    "overwrite_cache": True,
}
FACTS = [{"instruction": f"Say {at}", "input": "now" if at % 2 else "", "output": f"it is {at}"} for at in range(12)]
PAIRS = [{"question": f"Which is {at}?", "chosen": f"{at}", "rejected": "none"} for at in range(12)]
TALK = [
    {"conversations": [{"from": "human", "value": f"Say {at}"}, {"from": "gpt", "value": f"{at}"}]} for at in range(12)
]
BOOK = {
    "talk": {"file_name": "talk.json", "formatting": "sharegpt"},
    "facts": {"file_name": "facts.json"},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a person works: a model, rows, and LLaMA-Factory's folder `data`."""
    save_model(tmp_path / "model")
    write_rows(tmp_path / "facts.jsonl", FACTS)
    write_rows(tmp_path / "chat.jsonl", chat_rows(12))
    write_rows(tmp_path / "text.jsonl", [{"content": f"Some words about {at}."} for at in range(12)])
    write_rows(tmp_path / "pairs.jsonl", PAIRS)
    (tmp_path / "data").mkdir()
    for name, content in (("talk", TALK), ("facts", FACTS), ("dataset_info", BOOK)):
        (tmp_path / "data" / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def axolotl(path: str, kind: Any, **more: Any) -> Path:
    return saved({**AXOLOTL, "datasets": [{"path": path, "ds_type": "json", "type": kind}], **more})


def saved(values: dict[str, Any]) -> Path:
    file = Path("config.yml")
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return file


def losses(file: Path) -> list[float]:
    made = train_here(load(file, QUICK).recipe.model_dump(mode="json", exclude_unset=True))
    assert (made.adapter / "adapter_config.json").is_file()
    return [float(event.data["loss"]) for event in events_of(made, "step")]


def text_of(file: Path, row: int = 0) -> tuple[str, str]:
    """A row as it is trained on: all of it, and what is learnt."""
    recipe = load(file).recipe
    tokenizer = Tokenizer.open(Path("model"))
    prepared = prepare(recipe, Path.cwd(), tokenizer)
    example = prepared.train[row]
    whole, learnt = example.ids, example.ids[example.trained]
    return tuple(tokenizer.decode(ids.tolist(), skip_special_tokens=False) for ids in (whole, learnt))  # type: ignore[return-value]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("file", "kind", "more"),
    [
        ("facts.jsonl", "alpaca", {"sample_packing": True}),
        ("text.jsonl", "completion", {}),
        ("pairs.jsonl", "chatml.intel", {"rl": "dpo", "rl_beta": 0.1}),
    ],
    ids=["alpaca", "completion", "dpo"],
)
def test_axolotl_configuration_trains(file: str, kind: str, more: dict[str, Any]):
    config = axolotl(file, kind, **more)
    if kind == "completion":
        values = yaml.safe_load(config.read_text())
        values["datasets"][0]["field"] = "content"
        saved(values)
    found = losses(config)
    assert len(found) == 3
    assert all(math.isfinite(loss) for loss in found)
    assert found[-1] < found[0]


@pytest.mark.usefixtures("folder")
def test_llama_factory_configuration_trains_on_two_sets_of_two_layouts():
    found = losses(saved({**FACTORY, "max_steps": 8, "warmup_ratio": 0}))
    assert len(found) == 8
    assert sum(found[-3:]) < sum(found[:3])


@pytest.mark.usefixtures("folder")
def test_run_takes_a_configuration_as_it_is_and_tells_every_field_first(capsys: pytest.CaptureFixture[str]):
    config = axolotl("chat.jsonl", "chat_template")
    flags = [word for flag in QUICK for word in ("-o", flag)]
    assert run(["run", str(config), *flags, "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["status"] == "finished"
    assert "config.yml is read as Axolotl's: 19 fields, 16 translated, 3 no effect" in told.err
    assert "no effect   output_dir: ./out (a run's files lie under $LORRY_HOME/runs)" in told.err
    (row,) = Store.open().list()
    kept = (Path(row.folder) / "recipe.yaml").read_text("utf-8")
    assert kept.startswith("# From Axolotl's configuration config.yml")
    assert load(Path(row.folder) / "recipe.yaml").recipe.lora.rank == 4  # type: ignore[union-attr]


@pytest.mark.usefixtures("folder")
def test_alpaca_rows_are_written_as_axolotl_writes_them():
    whole, learnt = text_of(axolotl("facts.jsonl", "alpaca", val_set_size=0), 1)
    assert whole == (
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nSay 1\n\n### Input:\nnow\n\n### Response:\nit is 1<|im_end|>"
    )
    assert learnt == "it is 1<|im_end|>"


@pytest.mark.usefixtures("folder")
def test_prompt_of_ones_own_is_written_as_axolotl_writes_it():
    kind = {
        "system_prompt": "Be short.",
        "system_format": "[{system}] ",
        "format": "{instruction} ({input}):",
        "no_input_format": "{instruction}:",
    }
    file = axolotl("facts.jsonl", kind, val_set_size=0)
    assert text_of(file, 1)[0] == "[Be short.] Say 1 (now):it is 1<|im_end|>"
    assert text_of(file, 0)[0] == "[Be short.] Say 0:it is 0<|im_end|>"


@pytest.mark.usefixtures("folder")
def test_pairs_are_written_as_the_type_says():
    whole, learnt = text_of(axolotl("pairs.jsonl", "chatml.intel", rl="dpo", val_set_size=0))
    assert whole == "<|im_start|>user\nWhich is 0?<|im_end|>\n<|im_start|>assistant\n0<|im_end|>\n"
    assert learnt == "0<|im_end|>"


@pytest.mark.usefixtures("folder")
def test_last_answer_alone_is_learnt_with_mask_history():
    talk = [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}] * 2
    Path("data/talk.json").write_text(json.dumps([{"conversations": talk}]), encoding="utf-8")
    values = {**FACTORY, "dataset": "talk", "val_size": 0}
    assert text_of(saved({**values, "mask_history": True}))[1] == "b<|im_end|>"
    assert text_of(saved(values))[1] == "b<|im_end|>b<|im_end|>"


@pytest.mark.usefixtures("folder")
def test_llama_factory_joins_instruction_and_input_with_one_line_end():
    whole, _ = text_of(saved({**FACTORY, "dataset": "facts", "val_size": 0}), 1)
    assert "<|im_start|>user\nSay 1\nnow<|im_end|>" in whole


@pytest.mark.usefixtures("folder")
def test_long_rows_are_left_out_as_axolotl_does_and_cut_on_request():
    rows = [*FACTS, {"instruction": "Say much", "input": "", "output": "much " * 100}]
    write_rows(Path("facts.jsonl"), rows)
    for strategy, expected in ((None, 12), ("truncate", 13)):
        recipe = load(axolotl("facts.jsonl", "alpaca", val_set_size=0, excess_length_strategy=strategy)).recipe
        assert prepare(recipe, Path.cwd(), Tokenizer.open(Path("model"))).facts.train.rows == expected
