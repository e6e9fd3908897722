"""The other half of the corpus: recipes whose text is wrong, each with what is said of it, and the line that is named."""

from __future__ import annotations

from dataclasses import dataclass

SOUND = """\
model:
  id: ./tiny
data:
  train: rows.jsonl
train:
  steps: 20
"""


@dataclass(frozen=True)
class BadText:
    """A recipe's text. `says` stands in the error; `line` is the line that the error must name."""

    name: str
    text: str
    says: str
    line: int
    exit_code: int = 2

    def __str__(self) -> str:
        return self.name


def with_line(line: str) -> str:
    """The sound recipe with one more line, its seventh."""
    return SOUND + line + "\n"


TEXTS = [
    BadText("tab for indentation", "model:\n\tid: ./tiny\ndata:\n  train: rows.jsonl\n", "spaces, not tabs", 2),
    BadText("key given twice", with_line("  steps: 30"), "`steps` is given twice", 7),
    BadText("section given twice", with_line("model:\n  id: ./other"), "`model` is given twice", 7),
    BadText("quote that is not closed", 'model:\n  id: "./tiny\ndata:\n  train: rows.jsonl\n', "no valid YAML", 5),
    BadText("colon in a plain text", with_line("name: my: run"), "needs quotes", 7),
    BadText("two recipes in a file", SOUND + "---\n" + SOUND, "one recipe", 7),
    BadText("no mapping at all", "- model\n- data\n", "a recipe is a mapping, and this is a list", 1),
    BadText("misspelt key", with_line("  learning_rat: 1e-4"), "did you mean `learning_rate`?", 7),
    BadText("key of another section", with_line("  rank: 8"), "did you mean `lora.rank`?", 7),
    BadText("another tool's name for the rate", with_line("  lr: 1e-4"), "did you mean `train.learning_rate`?", 7),
    BadText("rate as text", with_line('  learning_rate: "fast"'), "must be a number", 7),
    BadText("steps as a fraction", SOUND.replace("20", "2.5"), "must be a whole number", 6),
    BadText("boolean as text", with_line('  activation_checkpointing: "sometimes"'), "must be true or false", 7),
    BadText("boolean for a number", with_line("  micro_batch: true"), "must not be true", 7),
    BadText("negative rate", with_line("  learning_rate: -1e-4"), "must be more than 0", 7),
    BadText("rank of zero", with_line("lora:\n  rank: 0"), "must be at least 1", 8),
    BadText("dropout of one", with_line("lora:\n  dropout: 1"), "must be less than 1", 8),
    BadText("steps and epochs", with_line("  epochs: 3"), "either steps or epochs", 5),
    BadText("schedule that is none", with_line("  schedule: cosin"), "did you mean `cosine`?", 7),
    BadText("precision of another tool", with_line("  precision: bf16"), "did you mean `model.precision`?", 7),
    BadText(
        "quantization that is none",
        SOUND.replace("./tiny", "./tiny\n  quantization: 4bit"),
        "must be `none`, `nf4` or `int8`",
        3,
    ),
    BadText("model missing", "data:\n  train: rows.jsonl\n", "is missing", 0),
    BadText("data missing", "model:\n  id: ./tiny\n", "is missing", 0),
    BadText("list of targets empty", with_line("lora:\n  target_modules: []"), "must not be empty", 8),
    BadText(
        "remote code trusted with a yes",
        SOUND.replace("./tiny", "./tiny\n  trust_remote_code: true"),
        "must not be true",
        3,
    ),
    BadText(
        "address of an alert that is nonsense", with_line("track:\n  alerts:\n    to: [call me]"), "must be `$NAME`", 9
    ),
    BadText(
        "key in the address of an alert",
        with_line("track:\n  alerts:\n    to: ['slack://xoxb-1/2/3']"),
        "holds a key",
        9,
    ),
    BadText("method that is none", with_line("method: sfft"), "did you mean `sft`?", 7),
    BadText("setting that the method has not", with_line("method: {name: sft, beta: 0.1}"), "beta", 7),
    BadText("metric that is none", with_line("evaluate:\n  metrics: [exact_mach]"), "did you mean `exact_match`?", 8),
    BadText("sink that is none", with_line("track:\n  sinks: [wandbb]"), "did you mean `wandb`?", 8),
    BadText(
        "template variable that lorry gives",
        SOUND.replace("rows.jsonl", "rows.jsonl\n  template_args: {messages: []}"),
        "is given by lorry",
        5,
    ),
    BadText("tag that would run Python", with_line("name: !!python/object/apply:os.system [ls]"), "is not allowed", 7),
    BadText("aliases without end", "model: &a {id: *a}\n", "make this recipe endless", 1),
    BadText("not UTF-8", "model:\n  id: caf\udce9\n", "not UTF-8 text", 2),
]
