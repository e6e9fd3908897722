"""What is said about prepared data: notes on what was resolved, warnings on what the person may want to change."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lorry.data.bad_rows import BadRows
from lorry.data.drafts import Tally
from lorry.data.facts import Said, SplitFacts
from lorry.data.staging import Staged
from lorry.recipe.schema import DataSettings

_MANY_CUT = 0.01
"""Share of cut rows that is worth a warning."""

_FEW = 20
"""Evaluation rows below which their loss is mostly chance."""

LEAKS = "data.leaks"
"""Code of the warning about evaluation rows that are trained on."""

_RENDERING = {
    "changing": (
        "template.changes-turns",
        "the chat template changes earlier turns when later ones follow (it may drop their reasoning) in {many}: "
        "there, only turns that stay as they were are trained on",
    ),
    "calls_hidden": (
        "template.hides-calls",
        "in {many} the chat template does not show tool calls: turns with calls are not trained on; see `data.chat_template`",
    ),
    "tools_hidden": (
        "template.hides-tools",
        "in {many} the chat template does not show the descriptions of tools; see `data.chat_template`",
    ),
    "reasoning_hidden": (
        "template.hides-reasoning",
        "in {many} the chat template does not show the reasoning of answers; see `data.chat_template`",
    ),
    "system_hidden": (
        "template.hides-system",
        "in {many} the chat template does not show the system turn; see `data.chat_template`",
    ),
    "prompt_differs": (
        "template.prompt-differs",
        "the generation prompt is not how the template begins an answer in {many}: "
        "the model will be asked otherwise than it was trained; see `data.template_args` ({args})",
    ),
    "forging": (
        "data.special-token",
        "a turn's own text holds a special token in {many} (first: {place}: {token}): the model "
        "reads it as the token itself, so a turn may seem to end early; remove it from the rows",
    ),
    "without_end": (
        "template.adds-no-end",
        "the chat template writes no end token in {many}: it was added",
    ),
    "images_cut": (
        "data.cut-image",
        "max_length would cut an image's tokens in {many}: they end before the image, and what follows it is not learnt",
    ),
    "merging": (
        "data.merged-token",
        "the prompt's last and the answer's first letters would share a token in {many}: "
        "they are tokenised apart, as at generation",
    ),
}
"""What each count of a tally means: code, and words about `many` conversations."""


def unseen(rows: BadRows, read: int) -> Said:
    """Rows that are skipped because an image of theirs cannot be decoded."""
    listed = "\n  ".join(rows.lines())
    text = f"{rows.count:,} of {counted(read, 'row')} {'has' if rows.count == 1 else 'have'} an image that cannot be "
    text += f"decoded, and {'is' if rows.count == 1 else 'are'} skipped\n  {listed}"
    return Said("data.bad-image", text, str(rows.first[0].origin))


def counted(number: int, thing: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def split(rows: int, back: int, data: DataSettings) -> list[str]:
    """How many rows are held back for evaluation, and why not as many as asked."""
    if not back:
        why = "there is only one row" if rows == 1 else "all rows have the same prompt"
        return [f"no rows are held back for evaluation: {why}"]
    said = f"{back:,} of {counted(rows, 'row')} held back for evaluation (data.eval_split {data.eval_split:g}, "
    said += f"split_seed {data.split_seed}); rows with the same prompt stay on one side"
    asked = int(data.eval_split) if data.eval_split >= 1 else round(data.eval_split * rows)
    if back < asked:
        said += f"; {asked:,} would leave too few to train on, or tear such rows apart"
    return [said] if back >= _FEW else [said, f"{counted(back, 'evaluation row')} cannot say much about the loss"]


def near_duplicates(dropped: int, rows: int, threshold: float) -> str:
    """How many training rows are left out because they nearly repeat an earlier one."""
    many = f"{dropped:,} of {counted(rows, 'training row')}"
    return f"{many} left out, for they nearly repeat an earlier one (data.drop_near_duplicates {threshold:g})"


def subset(name: str, size: int, rows: int) -> str:
    """What a subset means for the rows that there are."""
    if size > rows:
        return f"data.{name}_subset is {size:,}, and there is no more than {counted(rows, 'row')}: all of it is used"
    return f"{size:,} of {rows:,} {name} rows are drawn (data.{name}_subset)"


def leaks(staged: Mapping[str, Staged]) -> list[Said]:
    """Evaluation or test rows whose prompt also stands in the training rows."""
    warnings: list[Said] = []
    for name in ("eval", "test"):
        if name in staged:
            both = int(np.isin(staged[name].keys, staged["train"].keys).sum())
            if both:
                total = len(staged[name].keys)
                text = f"{both:,} of {total:,} {name} rows have a prompt that is trained on: scores flatter"
                warnings.append(Said(LEAKS, text, f"data.{name}"))
    return warnings


def rendering(tally: Tally, data: DataSettings) -> list[Said]:
    """What the chat template does that matters for training."""
    said: list[Said] = []
    for name, (code, text) in _RENDERING.items():
        number: int = getattr(tally, name)
        if number:
            many = f"{number:,} of {tally.conversations:,} conversations"
            place = tally.first.get(name, "data.chat_template")
            told = text.format(many=many, place=place, token=tally.first_token, args=data.template_args)
            said.append(Said(code, told, place))
    return said


def cut(splits: Mapping[str, SplitFacts], max_length: int) -> list[Said]:
    """Splits of which `max_length` cuts many rows."""
    told = "{0.cut_rows:,} of {0.rows:,} {1} rows lose their end at max_length {2:,}"
    many = [(name, facts) for name, facts in splits.items() if facts.cut_rows > _MANY_CUT * facts.rows]
    return [Said("data.cut", told.format(facts, name, max_length), "data.max_length") for name, facts in many]


def long_rows(number: int, max_length: int) -> str:
    """Rows that are skipped for their length, as the recipe asks."""
    return f"{counted(number, 'row')} longer than max_length {max_length:,}: skipped, as `data.on_long_row` says"


def unread(name: str, number: int) -> str:
    """Rows with a column named like one of images, for a model that reads none."""
    many = counted(number, f"{name} row")
    return f"the column `image` or `images` of {many} is ignored: the model reads no images, and the text marks none"


def left_out(dropped: int, why: str) -> Said:
    """Rows of which nothing to train on is left."""
    return Said("data.left-out", f"{counted(dropped, 'row')} left out: {why}", "data.max_length")
