"""The corpus: recipes, models and rows with faults that people report, each with what `lorry check` must say, and where.

A fault is a function that breaks something in a folder that holds a sound model (`tiny`) and sound rows (`rows.jsonl`),
and returns the sections of the recipe that belong to it. Faults of the recipe's text are in `broken_texts.py`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lorry.plan.hardware import Hardware
from model_folders import TEMPLATE, save_model, save_tokenizer, write_json
from subjects import ROWS, gpu, machine, row, save_rows
from tiny_vision import image_row, picture, save_vision

Sections = dict[str, Any]
Breaks = Callable[[Path], Sections | None]


@dataclass(frozen=True)
class Fault:
    """One fault. `place` is where the finding must point: `file:line`, or a dotted path into the recipe."""

    name: str
    code: str
    place: str
    breaks: Breaks
    hardware: Hardware | None = None

    def __str__(self) -> str:
        return self.name


# --- ways to break rows


def rows(*bad: Any, keep: int = 40, **sections: Any) -> Breaks:
    """Bad rows behind `keep` sound ones."""

    def breaks(folder: Path) -> Sections:
        save_rows(folder / "rows.jsonl", [*ROWS[:keep], *bad])
        return sections

    return breaks


def seeing(*bad: Any, keep: int = 20, **data: Any) -> Breaks:
    """Bad rows behind sound ones about images, for a model that reads them."""

    def breaks(folder: Path) -> Sections:
        save_vision(folder / "seeing")
        for at in range(keep):
            (folder / f"{at}.png").write_bytes(picture(at))
        (folder / "torn.png").write_bytes(picture(1)[:60])
        sound = [image_row(f"<image>what is there {at}", f"thing {at}", [f"{at}.png"]) for at in range(keep)]
        save_rows(folder / "rows.jsonl", [*sound, *bad])
        return {"model": {"id": "seeing"}, "data": data}

    return breaks


def turns(*said: tuple[str, Any], **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in said], **fields}


def lines(text: str | bytes, name: str = "rows.jsonl", **sections: Any) -> Breaks:
    """A file with this content, sound rows before it if it is JSON Lines."""

    def breaks(folder: Path) -> Sections:
        content = text.encode() if isinstance(text, str) else text
        (folder / name).write_bytes(content)
        return {**sections, "data": {"train": name, **sections.get("data", {})}}

    return breaks


def after(good: int, text: str | bytes, **sections: Any) -> Breaks:
    """Sound rows, then these bytes."""
    start = "".join(json.dumps(each) + "\n" for each in ROWS[:good]).encode()
    return lines(start + (text.encode() if isinstance(text, str) else text), **sections)


def eval_rows(*scored: Any) -> Breaks:
    def breaks(folder: Path) -> Sections:
        save_rows(folder / "eval.jsonl", list(scored))
        return {"data": {"eval": "eval.jsonl"}}

    return breaks


def parquet_cut_short(folder: Path) -> Sections:
    pq.write_table(pa.table({"prompt": ["a"] * 50, "completion": ["b"] * 50}), folder / "rows.parquet")
    whole = (folder / "rows.parquet").read_bytes()
    (folder / "rows.parquet").write_bytes(whole[: len(whole) // 2])
    return {"data": {"train": "rows.parquet"}}


def parquet_with_a_null(folder: Path) -> Sections:
    pq.write_table(pa.table({"prompt": ["a", "b"], "completion": ["c", None]}), folder / "rows.parquet")
    return {"data": {"train": "rows.parquet"}}


# --- ways to break models


def config(**changes: Any) -> Breaks:
    """Another value in the model's config.json."""

    def breaks(folder: Path) -> None:
        save_model(folder / "tiny", **changes)

    return breaks


def tokenizer(rows: list[Any] | None = None, data: Sections | None = None, **changes: Any) -> Breaks:
    """Another template, or another end token."""

    def breaks(folder: Path) -> Sections:
        (folder / "tiny" / "chat_template.jinja").unlink()
        save_tokenizer(folder / "tiny", **changes)
        if rows is not None:
            save_rows(folder / "rows.jsonl", rows)
        return {"data": data or {}}

    return breaks


def tokenizer_config(**changes: Any) -> Breaks:
    def breaks(folder: Path) -> None:
        path = folder / "tiny" / "tokenizer_config.json"
        write_json(path, {**json.loads(path.read_text("utf-8")), **changes})

    return breaks


def removed(name: str) -> Breaks:
    return lambda folder: (folder / "tiny" / name).unlink()


def written(name: str, content: str | bytes) -> Breaks:
    """A file of the model with other content."""

    def breaks(folder: Path) -> None:
        (folder / "tiny" / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return breaks


def weights_cut_short(folder: Path) -> None:
    file = folder / "tiny" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def missing_shard(folder: Path) -> None:
    (folder / "tiny" / "model.safetensors").rename(folder / "tiny" / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    write_json(folder / "tiny" / "model.safetensors.index.json", {"weight_map": shards})


def pickled_adapter_as_model(folder: Path) -> Sections:
    (folder / "adapter").mkdir()
    write_json(folder / "adapter" / "adapter_config.json", {"base_model_name_or_path": "tiny"})
    return {"model": {"id": "./adapter"}}


def two_ggufs(folder: Path) -> Sections:
    (folder / "quants").mkdir()
    for name in ("q4.gguf", "q8.gguf"):
        (folder / "quants" / name).touch()
    return {"model": {"id": "./quants"}}


def gguf_that_is_none(folder: Path) -> Sections:
    (folder / "model.gguf").write_bytes(b"<html>not found</html>")
    return {"model": {"id": "./model.gguf"}}


def earlier_adapter(**settings: Any) -> Breaks:
    def breaks(folder: Path) -> Sections:
        (folder / "earlier").mkdir()
        (folder / "earlier" / "adapter_model.safetensors").touch()
        given = {"r": 16, "lora_alpha": 32, "base_model_name_or_path": "tiny", **settings}
        write_json(folder / "earlier" / "adapter_config.json", given)
        return {"model": {"adapter": "earlier"}}

    return breaks


def sections(**given: Any) -> Breaks:
    return lambda _: given


TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
ALTERNATING = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_SYSTEM = TEMPLATE.replace(
    "{% for message in messages %}", "{% for message in messages if message['role'] != 'system' %}"
)
PICTURE = "data:image/png;base64," + "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ" * 12
KEY = "hf_" + "abcdefghijklmnopqrstuvwxyzABCDEFGH"
OLD = machine(gpu("Tesla T4", 7.5))
NONE = machine(cpu_bf16=False)

CUT = (
    ("user", [{"type": "image", "path": "1.png"}, {"type": "text", "text": "what"}]),
    ("assistant", "a cat"),
    ("user", [{"type": "image", "path": "2.png"}, {"type": "text", "text": "and here"}]),
    ("assistant", "a dog"),
)
"""The first answer fits, and the second image does not."""

DATA = [
    Fault("JSON torn off at the end", "data.bad-row", "rows.jsonl:3", after(2, '{"messages": [{"role": "user"')),
    Fault("line with single quotes", "data.bad-row", "rows.jsonl:2", after(1, "{'messages': []}\n")),
    Fault("line with NaN", "data.bad-row", "rows.jsonl:2", after(1, '{"prompt": "a", "completion": NaN}\n')),
    Fault("two objects on a line", "data.bad-row", "rows.jsonl:2", after(1, '{"a": 1} {"b": 2}\n')),
    Fault(
        "a JSON array in a .jsonl file", "data.bad-row", "rows.jsonl:1", lines('[{"prompt": "a", "completion": "b"}]')
    ),
    Fault("misspelt field", "data.bad-row", "rows.jsonl:41", rows({"mesages": []})),
    Fault("no messages in the list", "data.bad-row", "rows.jsonl:41", rows({"messages": []})),
    Fault("null for the messages", "data.bad-row", "rows.jsonl:41", rows({"messages": None})),
    Fault("wrong role", "data.bad-row", "rows.jsonl:41", rows(turns(("usr", "a"), ("assistant", "b")))),
    Fault("empty assistant turn", "data.bad-row", "rows.jsonl:41", rows(row("Who?", "  "))),
    Fault("only a system turn", "data.bad-row", "rows.jsonl:41", rows(turns(("system", "Be kind.")))),
    Fault(
        "the user has the last word",
        "data.bad-row",
        "rows.jsonl:41",
        rows(turns(("user", "a"), ("assistant", "b"), ("user", "c"))),
    ),
    Fault("number for a content", "data.bad-row", "rows.jsonl:41", rows(turns(("user", "2+2?"), ("assistant", 4)))),
    Fault("turns that are strings", "data.bad-row", "rows.jsonl:41", rows({"messages": ["hello", "hi"]})),
    Fault(
        "tool call without a name",
        "data.bad-row",
        "rows.jsonl:41",
        rows(
            {
                "messages": [
                    {"role": "user", "content": "?"},
                    {"role": "assistant", "tool_calls": [{"function": {"arguments": {}}}]},
                ]
            }
        ),
    ),
    Fault(
        "tool arguments that are no JSON",
        "data.bad-row",
        "rows.jsonl:41",
        rows(
            {
                "messages": [
                    {"role": "user", "content": "?"},
                    {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{city: Rome}"}}]},
                ]
            }
        ),
    ),
    Fault(
        "picture part in a text model's row",
        "data.bad-row",
        "rows.jsonl:41",
        rows(turns(("user", [{"type": "image_url", "image_url": {"url": "a.png"}}]), ("assistant", "a cat"))),
    ),
    Fault(
        "images beside the turns",
        "data.bad-row",
        "rows.jsonl:41",
        rows(turns(("user", "<image>"), ("assistant", "a cat"), images=["a.png"])),
    ),
    Fault(
        "Latin-1 instead of UTF-8",
        "data.bad-row",
        "rows.jsonl:2",
        after(1, '{"prompt": "caf\xe9", "completion": "b"}\n'.encode("latin-1")),
    ),
    Fault("UTF-16 file", "data.unusable", "rows.jsonl", lines('{"prompt": "a", "completion": "b"}\n'.encode("utf-16"))),
    Fault(
        "half of a surrogate pair",
        "data.bad-row",
        "rows.jsonl:2",
        after(1, '{"prompt": "\\ud83d", "completion": "b"}\n'),
    ),
    Fault("empty file", "data.unusable", "data.train", lines("")),
    Fault("no such file", "data.unusable", "rows.json", sections(data={"train": "rows.json"})),
    Fault("no file matches a pattern", "data.unusable", "parts/*.jsonl", sections(data={"train": "parts/*.jsonl"})),
    Fault("kind of file that is none", "data.unusable", "rows.xlsx", lines(b"PK\x03\x04", "rows.xlsx")),
    Fault("compressed file with a plain name", "data.unusable", "rows.jsonl", lines(b"\x1f\x8b\x08\x00" + bytes(60))),
    Fault("CSV column missing", "data.bad-row", "rows.csv:2", lines("prompt,answer\na,b\n", "rows.csv")),
    Fault("CSV with semicolons", "data.bad-row", "rows.csv:1", lines("prompt;completion\na;b\n", "rows.csv")),
    Fault(
        "CSV with a comma too many", "data.bad-row", "rows.csv:3", lines("prompt,completion\na,b\na,b,c\n", "rows.csv")
    ),
    Fault(
        "CSV quote that is not closed",
        "data.bad-row",
        "rows.csv:3",
        lines('prompt,completion\na,b\n"a,b\n', "rows.csv"),
    ),
    Fault("Parquet file cut short", "data.unusable", "rows.parquet", parquet_cut_short),
    Fault("Parquet row with a null", "data.bad-row", "rows.parquet:2", parquet_with_a_null),
    Fault("formats mixed in a file", "data.bad-row", "rows.jsonl:41", rows({"instruction": "a", "output": "b"})),
    Fault("raw text for sft", "method.rows", "rows.jsonl:1", lines('{"text": "words"}\n' * 5)),
    Fault(
        "preference pairs for sft",
        "method.rows",
        "rows.jsonl:1",
        lines('{"prompt": "a", "chosen": "b", "rejected": "c"}\n' * 5),
    ),
    Fault("prompts without answers", "method.rows", "rows.jsonl:1", lines('{"prompt": "a"}\n' * 5)),
    Fault("rows of a classifier", "method.rows", "rows.jsonl:1", lines('{"text": "fine film", "label": 1}\n' * 5)),
    Fault("conversations for cpt", "method.rows", "rows.jsonl:1", sections(method="cpt")),
    Fault("answers cut away", "data.unusable", "data.train", rows(data={"max_length": 8})),
    Fault(
        "some answers cut away",
        "data.left-out",
        "data.max_length",
        rows(row("Count " + "1 " * 100, "yes"), data={"max_length": 64}),
    ),
    Fault(
        "ends of answers cut off",
        "data.cut",
        "data.max_length",
        rows(row("Count", "1 " * 100), data={"max_length": 64, "eval_split": 0}),
    ),
    Fault("rows repeated", "duplicates.rows", "rows.jsonl:41", rows(*ROWS[:5], data={"eval_split": 0})),
    Fault(
        "row repeated but for blanks and case",
        "duplicates.rows",
        "rows.jsonl:41",
        rows(row("say  0", "0 IT is"), data={"eval_split": 0}),
    ),
    Fault(
        "evaluation row that is trained on",
        "leakage.rows",
        "eval.jsonl:2",
        eval_rows(row("New?", "yes"), row("SAY 7", "7 it  is")),
    ),
    Fault("evaluation prompt that is trained on", "leakage.prompts", "eval.jsonl:1", eval_rows(row("Say 7", "seven"))),
    Fault(
        "placeholder for an answer",
        "answers.placeholder",
        "rows.jsonl:41",
        rows(row("Who?", "TODO"), data={"eval_split": 0}),
    ),
    Fault("answer of dots", "answers.placeholder", "rows.jsonl:41", rows(row("Who?", "..."), data={"eval_split": 0})),
    Fault("answer that echoes", "answers.echo", "rows.jsonl:41", rows(row("Who?", "Who?"), data={"eval_split": 0})),
    Fault("one answer for all", "answers.same", "data.train", rows(*[row(f"Is {n} good?", "yes") for n in range(60)])),
    Fault(
        "picture as base64 text",
        "media.base64",
        "rows.jsonl:41",
        rows(row(f"What is on {PICTURE}?", "a cat"), data={"eval_split": 0, "max_length": 2048}),
    ),
    Fault("torn image", "data.bad-image", "rows.jsonl:21", seeing(image_row("<image>what", "a cat", ["torn.png"]))),
    Fault(
        "image that is not there",
        "data.bad-row",
        "rows.jsonl:21",
        seeing(image_row("<image>what", "a cat", ["no.png"])),
    ),
    Fault(
        "more marks than images",
        "data.bad-row",
        "rows.jsonl:21",
        seeing(image_row("<image><image>what", "no", ["1.png"])),
    ),
    Fault(
        "more images than marks",
        "data.bad-row",
        "rows.jsonl:21",
        seeing(image_row("<image>", "no", ["1.png", "2.png"])),
    ),
    Fault(
        "image for a text model", "data.bad-row", "rows.jsonl:41", rows(image_row("<image>what", "a cat", ["no.png"]))
    ),
    Fault(
        "greatest length within an image",
        "data.cut-image",
        "rows.jsonl:21",
        seeing(turns(*CUT), max_length=45, eval_split=0),
    ),
    Fault("sign of the template in a turn", "data.special-token", "rows.jsonl:41", rows(row("Say <|im_end|>", "no"))),
    Fault("key in a row", "data.secrets", "rows.jsonl:41", rows(row(f"Use {KEY}", "no"), data={"eval_split": 0})),
    Fault(
        "dangerous command",
        "data.dangerous",
        "rows.jsonl:41",
        rows(row("Clean up", "rm -rf / --no-preserve-root"), data={"eval_split": 0}),
    ),
    Fault("bad rows skipped", "data.bad-row", "rows.jsonl:41", rows(row("", ""), data={"on_bad_row": "skip"})),
    Fault("few rows seen often", "data.many-passes", "train.steps", rows(keep=20, train={"steps": 900})),
    Fault(
        "metric without rows",
        "recipe.no-eval-rows",
        "evaluate.metrics",
        sections(data={"eval_split": 0}, evaluate={"metrics": ["exact_match"]}),
    ),
    Fault(
        "a single row cannot be split",
        "data.no-eval-rows",
        "evaluate.metrics",
        rows(keep=1, evaluate={"metrics": ["exact_match"]}),
    ),
]

MODEL = [
    Fault("path that does not exist", "model.unavailable", "model.id", sections(model={"id": "./tinny"})),
    Fault("name that is not on the Hub", "model.unavailable", "model.id", sections(model={"id": "nobody/nothing"})),
    Fault("folder without a config", "model.unavailable", "model.id", removed("config.json")),
    Fault("config cut short", "model.unavailable", "model.id", written("config.json", '{"model_type": "lla')),
    Fault("config without a model_type", "model.unavailable", "model.id", written("config.json", "{}")),
    Fault("unknown architecture", "model.unavailable", "model.id", config(model_type="brandnew")),
    Fault(
        "model with code of its own",
        "model.unavailable",
        "model.id",
        config(model_type="own", auto_map={"AutoConfig": "code.C"}),
    ),
    Fault("adapter in place of a model", "model.unavailable", "model.id", pickled_adapter_as_model),
    Fault("GGUF file that is not there", "model.unavailable", "model.id", sections(model={"id": "./model.gguf"})),
    Fault("GGUF file that is a web page", "model.unavailable", "model.id", gguf_that_is_none),
    Fault("several GGUF files", "model.unavailable", "model.id", two_ggufs),
    Fault("no tokenizer", "model.unavailable", "model.id", removed("tokenizer.json")),
    Fault("no weights", "model.weights", "model.id", removed("model.safetensors")),
    Fault("weights cut short", "model.weights", "model.id", weights_cut_short),
    Fault(
        "Git LFS pointer for weights",
        "model.weights",
        "model.id",
        written("model.safetensors", "version https://git-lfs.github.com/spec/v1\n"),
    ),
    Fault(
        "header of weights damaged",
        "model.weights",
        "model.id",
        written("model.safetensors", struct.pack("<Q", 5) + b"{[}]!"),
    ),
    Fault("missing shard", "model.weights", "model.id", missing_shard),
    Fault(
        "masked language model",
        "model.not-generative",
        "model.id",
        config(model_type="bert", architectures=["BertForMaskedLM"]),
    ),
    Fault("classifier", "model.not-generative", "model.id", config(architectures=["LlamaForSequenceClassification"])),
    Fault(
        "encoder and decoder",
        "model.not-generative",
        "model.id",
        config(model_type="bart", architectures=["BartForConditionalGeneration"], is_encoder_decoder=True),
    ),
    Fault("config of another size", "model.config-disagrees", "model.id", config(hidden_size=64)),
    Fault("config with layers that are not there", "model.config-disagrees", "model.id", config(num_hidden_layers=4)),
    Fault(
        "GPTQ model without its package",
        "extras.quantised",
        "model.id",
        config(quantization_config={"quant_method": "gptq"}),
    ),
    Fault(
        "quantised model quantised again",
        "model.quantised-already",
        "model.quantization",
        lambda folder: (
            config(quantization_config={"quant_method": "fp8"})(folder),
            {"model": {"quantization": "nf4"}},
        )[1],
    ),
    Fault(
        "quantised model trained in full",
        "model.full-quantised",
        "lora",
        lambda folder: (config(quantization_config={"quant_method": "fp8"})(folder), {"lora": None})[1],
    ),
    Fault(
        "rows longer than the model's context",
        "model.max-length",
        "data.max_length",
        rows(row("Count", "1 " * 200), data={"eval_split": 0}),
    ),
]

TOKENIZER = [
    Fault("tokenizer.json damaged", "tokenizer.unavailable", "tiny/tokenizer.json", written("tokenizer.json", "{}")),
    Fault("no end token", "tokenizer.no-end-token", "", tokenizer(eos=None, template="{{ messages }}")),
    Fault("base model without a template", "template.fails", "", tokenizer(template=None)),
    Fault("template that is no Jinja", "template.fails", "", tokenizer(template="{% for x in %}")),
    Fault(
        "template file that is not there",
        "template.fails",
        "chat.jinja",
        sections(data={"chat_template": "chat.jinja"}),
    ),
    Fault(
        "template without an end",
        "template.no-end",
        "data.chat_template",
        tokenizer(template=TEMPLATE.replace("<|im_end|>", "")),
    ),
    Fault(
        "template that drops turns",
        "template.drops-turns",
        "data.chat_template",
        tokenizer(template=TEMPLATE.replace("in messages", "in messages[-2:]")),
    ),
    Fault(
        "template that drops the system turn",
        "template.hides-system",
        "rows.jsonl:1",
        tokenizer(
            template=NO_SYSTEM,
            rows=[turns(("system", "Be brief."), ("user", f"{n}?"), ("assistant", "yes")) for n in range(20)],
        ),
    ),
    Fault(
        "template that drops tools",
        "template.hides-tools",
        "rows.jsonl:41",
        rows(turns(("user", "Rain?"), ("assistant", "no"), tools=[TOOL])),
    ),
    Fault(
        "template that drops tool calls",
        "template.hides-calls",
        "rows.jsonl:41",
        rows(
            {
                "messages": [
                    {"role": "user", "content": "Rain?"},
                    {
                        "role": "assistant",
                        "content": "Let me see.",
                        "tool_calls": [{"function": {"name": "weather", "arguments": {}}}],
                    },
                    {"role": "tool", "content": "dry"},
                    {"role": "assistant", "content": "no"},
                ]
            }
        ),
    ),
    Fault(
        "template that drops reasoning",
        "template.hides-reasoning",
        "rows.jsonl:41",
        rows(
            {
                "messages": [
                    {"role": "user", "content": "2+2?"},
                    {"role": "assistant", "reasoning_content": "two and two", "content": "4"},
                ]
            }
        ),
    ),
    Fault(
        "template that refuses the system turn",
        "data.bad-row",
        "rows.jsonl:1",
        tokenizer(template=ALTERNATING, rows=[turns(("system", "Be brief."), ("user", "a"), ("assistant", "b"))]),
    ),
    Fault(
        "two user turns where they must alternate",
        "data.bad-row",
        "rows.jsonl:1",
        tokenizer(template=ALTERNATING, rows=[turns(("user", "a"), ("user", "b"), ("assistant", "c"))]),
    ),
    Fault(
        "template that begins texts twice",
        "template.double-bos",
        "data.chat_template",
        lambda folder: (
            tokenizer_config(bos_token="<|endoftext|>")(folder)
            or written("chat_template.jinja", "{{ bos_token }}{{ bos_token }}" + TEMPLATE)(folder)
        ),
    ),
    Fault(
        "template and tokenizer both begin texts",
        "tokenizer.bos-once",
        "",
        lambda folder: (
            tokenizer_config(bos_token="<|endoftext|>", add_bos_token=True)(folder)
            or written("chat_template.jinja", "{{ bos_token }}" + TEMPLATE)(folder)
        ),
    ),
    Fault(
        "vocabulary larger than the embedding",
        "tokenizer.too-large",
        "model.id",
        tokenizer_config(extra_special_tokens=["<|tool|>", "<|think|>"]),
    ),
    Fault("pad token is the end token", "tokenizer.pad-is-end", "", tokenizer_config(pad_token="<|im_end|>")),
    Fault("no pad token", "tokenizer.no-pad", "", tokenizer_config(pad_token=None)),
    Fault(
        "generation stops at another token",
        "template.other-end",
        "data.chat_template",
        written("generation_config.json", '{"eos_token_id": 0}'),
    ),
    Fault(
        "template for a method without turns",
        "recipe.unused-chat-template",
        "data.chat_template",
        lines('{"text": "words"}\n' * 5, method="cpt", data={"chat_template": "chatml"}),
    ),
]

LORA = [
    Fault("misspelt target", "targets.missing", "lora.target_modules", sections(lora={"target_modules": ["q_prj"]})),
    Fault("targets of GPT-2", "targets.missing", "lora.target_modules", sections(lora={"target_modules": ["c_attn"]})),
    Fault(
        "targets of Falcon",
        "targets.missing",
        "lora.target_modules",
        sections(lora={"target_modules": ["query_key_value"]}),
    ),
    Fault(
        "normalisation as a target",
        "targets.no-matrix",
        "lora.target_modules",
        sections(lora={"target_modules": ["norm"]}),
    ),
    Fault(
        "embedding as a target",
        "targets.embedding",
        "lora.target_modules",
        sections(lora={"target_modules": ["q_proj", "embed_tokens"]}),
    ),
    Fault(
        "earlier adapter that is not there", "adapter.missing", "model.adapter", sections(model={"adapter": "earlier"})
    ),
    Fault("earlier adapter of another rank", "adapter.disagrees", "lora.rank", earlier_adapter(r=8)),
    Fault(
        "earlier adapter of another model",
        "adapter.other-base",
        "model.adapter",
        earlier_adapter(base_model_name_or_path="meta/other"),
    ),
    Fault(
        "all weights of a quantised model",
        "recipe.full-quantized",
        "model.quantization",
        sections(lora=None, model={"quantization": "nf4"}),
    ),
    Fault(
        "adapter continued without an adapter",
        "recipe.full-adapter",
        "model.adapter",
        sections(lora=None, model={"adapter": "earlier"}),
    ),
]

TRAINING = [
    Fault(
        "learning rate of 0.02", "recipe.learning-rate", "train.learning_rate", sections(train={"learning_rate": 0.02})
    ),
    Fault(
        "LoRA's learning rate for all weights",
        "recipe.learning-rate",
        "train.learning_rate",
        sections(lora=None, train={"learning_rate": 2e-3}),
    ),
    Fault("warm-up as long as the run", "recipe.warmup", "train.warmup", sections(train={"steps": 10, "warmup": 10})),
    Fault(
        "evaluation after the end",
        "recipe.eval-every",
        "train.eval_every",
        sections(train={"steps": 10, "eval_every": 50}),
    ),
    Fault(
        "checkpoint after the end",
        "recipe.save-every",
        "train.save_every",
        sections(train={"steps": 10, "save_every": 50}),
    ),
    Fault(
        "early stop on a metric that is not scored",
        "recipe.not-evaluated",
        "train.early_stop.metric",
        sections(train={"early_stop": {"metric": "bleu"}}),
    ),
    Fault(
        "best by what the method does not tell",
        "recipe.not-evaluated",
        "train.best_by",
        sections(train={"best_by": "reward_accuracy"}),
    ),
    Fault(
        "early stop without rows",
        "recipe.early-stop-without-rows",
        "train.early_stop",
        sections(train={"early_stop": {}}, data={"eval_split": 0}),
    ),
    Fault("budget without a price", "recipe.budget-without-price", "budget.usd", sections(budget={"usd": 5})),
    Fault(
        "code of strangers trusted",
        "recipe.remote-code",
        "model.trust_remote_code",
        sections(model={"trust_remote_code": "tiny"}),
    ),
    Fault(
        "key in the recipe", "recipe.secret", "data.template_args.key", sections(data={"template_args": {"key": KEY}})
    ),
    Fault(
        "fp16 without a GPU",
        "precision.fp16-without-gpu",
        "model.precision",
        sections(model={"precision": "fp16"}),
        NONE,
    ),
    Fault("bf16 on a T4", "precision.bf16-emulated", "model.precision", sections(model={"precision": "bf16"}), OLD),
    Fault("FlashAttention on a T4", "precision.flash", "model.attention", sections(model={"attention": "flash"}), OLD),
    Fault(
        "FlashAttention that is not installed",
        "extras.flash",
        "model.attention",
        sections(model={"attention": "flash"}),
    ),
    Fault(
        "8-bit optimizer without a GPU",
        "precision.adamw-8bit",
        "train.optimizer",
        sections(train={"optimizer": "adamw_8bit"}),
        NONE,
    ),
    Fault(
        "QLoRA without a GPU",
        "precision.quantised-cpu",
        "model.quantization",
        sections(model={"quantization": "nf4"}),
        NONE,
    ),
    Fault(
        "driver that does not answer", "hardware.gpu-silent", "", sections(), machine(trouble="nvidia-smi: mismatch")
    ),
    Fault(
        "variable of an alert that is not set",
        "tracking.address",
        "track.alerts.to",
        sections(track={"alerts": {"to": ["$NO_SUCH_VARIABLE"]}}),
    ),
    Fault(
        "webhook where nobody is",
        "tracking.unreachable",
        "track.alerts.to",
        sections(track={"alerts": {"to": ["json://127.0.0.1:9/x"]}}),
    ),
    Fault(
        "progress told to nobody",
        "tracking.nobody",
        "track.alerts.to",
        sections(track={"alerts": {"progress_hours": 2}}),
    ),
]

FAULTS = [*DATA, *MODEL, *TOKENIZER, *LORA, *TRAINING]
