"""`lorry data`: rows as the model will see them, their statistics, the formats that they may have, and what makes rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lorry.cli import output
from lorry.cli.options import takes

if TYPE_CHECKING:
    from lorry.data.examples import Example
    from lorry.data.prepare import Prepared
    from lorry.data.tokenizer import Tokenizer

app = typer.Typer(help="Make rows, and show them as the model will see them.", no_args_is_help=True)

RecipePath = Annotated[Path, typer.Argument(help="A YAML or Python recipe.")]
Overrides = Annotated[list[str] | None, typer.Option("-o", "--override", help="`data.max_length=512`.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def show(
    recipe: RecipePath,
    rows: Annotated[int, typer.Option("--rows", "-n", min=0, help="How many rows.")] = 3,
    split: Annotated[str, typer.Option("--split", help="train, eval or test.")] = "train",
    overrides: Overrides = None,
    json_: Json = False,
) -> None:
    """Print rows with the trained tokens marked, their lengths, and the statistics of the whole set.

    Trained tokens are green; without colour they stand in [[double brackets]].
    """
    prepared, tokenizer = _prepared(recipe, overrides)
    examples = _split(prepared, split)
    shown = range(min(rows, len(examples)))
    if json_:
        output.emit_json([_row(prepared, tokenizer, split, index) for index in shown])
        return
    for index in shown:
        _print_row(_row(prepared, tokenizer, split, index))
    _print_statistics(prepared, [split])


@app.command()
def stats(recipe: RecipePath, overrides: Overrides = None, json_: Json = False) -> None:
    """Print lengths, cut rows and the share of trained tokens of every split."""
    from lorry.data.stats import described

    prepared, _ = _prepared(recipe, overrides)
    splits = [name for name in ("train", "eval", "test") if prepared.facts.split(name)]
    if json_:
        found = {name: described(_facts(prepared, name), _split(prepared, name)) for name in splits}
        said = {
            name: getattr(prepared.facts, name)
            for name in ("bad_rows", "dropped_rows", "near_duplicates", "notes", "warnings")
        }
        output.emit_json({"splits": found, "files": prepared.facts.files, **said})
    else:
        _print_statistics(prepared, splits)


@app.command()
def formats(json_: Json = False) -> None:
    """List the formats that rows may have, each with an example."""
    from lorry.data.detect import examples_of_formats

    found = examples_of_formats()
    if json_:
        output.emit_json(found)
        return
    for entry in found:
        output.pieces([(entry["name"], "bold"), (f"  {entry['summary']}", "")])
        output.data(f"{entry['about']}\n")
    output.note("`data.format: auto` finds the format by itself; `data.format: NAME` names it")


@dataclass(frozen=True)
class Conversion:
    """What `lorry data convert` takes."""

    files: Annotated[list[str], typer.Argument(help="Files, folders or `hub:OWNER/NAME` to convert.")]
    out: Annotated[Path, typer.Option("--out", help="The file of rows, a name that ends in `.jsonl`.")]
    kind: Annotated[str, typer.Option("--from", help="What it is: see `lorry data converters`.")] = "auto"
    override: Annotated[
        list[str] | None, typer.Option("-o", "--override", help="A setting of the converter: `min_quality=0.7`.")
    ] = None
    drop_near_duplicates: Annotated[
        float | None,
        typer.Option("--drop-near-duplicates", min=0.6, max=1, help="Leave out what is so alike; 0.8 is usual."),
    ] = None
    test: Annotated[
        float, typer.Option("--test", min=0, max=0.9, help="Share of the input to hold back, in OUT.test.jsonl.")
    ] = 0.0
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seeds every draw.")] = 0
    update: Annotated[bool, typer.Option("--update", help="Bring what was converted before up to date.")] = False
    new: Annotated[
        Path | None, typer.Option("--new", help="A further file for the rows of what is new since then.")
    ] = None
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Go on without rows that cannot be used.")] = False
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.")] = False
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False


@app.command()
@takes(Conversion)
def convert(asked: Conversion) -> None:
    """Make rows to train on, from dated notes, Alpaca, ShareGPT, or questions about passages.

    The same files, settings and seed give the same rows. `OUT.state` beside them tells `--update` what is new since then.
    """
    from lorry.cli import conversion
    from lorry.data.converting import convert
    from lorry.data.converting.outputs import Outputs

    outputs = Outputs.at(asked.out, test=asked.test > 0, new=asked.new)
    wish = convert.Wish(
        outputs,
        seed=asked.seed,
        test=asked.test,
        drop_near=asked.drop_near_duplicates,
        skip_bad=asked.skip_bad,
        update=asked.update,
        force=asked.force,
        watch=output.live if output.stderr_is_live() else lambda _: None,
    )
    outcome = convert.convert(asked.kind, conversion.settings(asked.override or []), asked.files, wish)
    if asked.json:
        output.emit_json({**vars(outcome), "files": [str(file) for file in outputs.files]})
    else:
        conversion.tell(outcome, outputs)


@app.command()
def converters(json_: Json = False) -> None:
    """List what `lorry data convert` can read, with the settings of each."""
    from lorry.cli.plugin_list import described, show

    if json_:
        output.emit_json(described("converters"))
    else:
        show("converters", "", "`lorry data convert --from NAME -o SETTING=VALUE`; `--json` explains each setting")


def _prepared(path: Path, overrides: list[str] | None) -> tuple[Prepared, Tokenizer]:
    """The recipe's rows, rendered, and the tokenizer that renders them. Says what loading and rendering had to say."""
    from lorry.cli.loading import load
    from lorry.data.prepare import prepare, templated
    from lorry.data.tokenizer import Tokenizer
    from lorry.trainer.sources.locate import locate

    loaded = load(path, overrides or ())
    for warning in loaded.warnings:
        output.warn(warning)
    source = locate(loaded.recipe.model, loaded.base, weights=False)
    tokenizer = templated(Tokenizer.open(source.folder), loaded.recipe.data, loaded.base)
    prepared = prepare(loaded.recipe, loaded.base, tokenizer)
    for note in prepared.facts.notes:
        output.note(note)
    for warning in prepared.facts.warnings:
        output.warn(warning)
    return prepared, tokenizer


def _split(prepared: Prepared, name: str) -> Any:
    from lorry.errors import InputError

    found = getattr(prepared, name, None) if name in ("train", "eval", "test") else None
    if found is None:
        there = ", ".join(split for split in ("train", "eval", "test") if prepared.facts.split(split))
        raise InputError(f"there are no `{name}` rows", hint=f"there are: {there}")
    return found


def _facts(prepared: Prepared, name: str) -> Any:
    return prepared.facts.split(name)


def _row(prepared: Prepared, tokenizer: Tokenizer, split: str, index: int) -> dict[str, Any]:
    from lorry.data.marks import stretches

    examples = _split(prepared, split)
    example = examples[index]
    return {
        "origin": str(examples.origin(index)),
        "tokens": len(example.ids),
        "trained": int(example.trained.sum()),
        "cut": prepared.was_cut(split, index),
        **_images(example),
        "text": [{"text": text, "trained": marked} for text, marked in stretches(example, tokenizer)],
    }


def _images(example: Example) -> dict[str, Any]:
    shown = [
        {"width": one.picture.width, "height": one.picture.height, "tokens": one.end - one.start}
        for one in example.images
    ]
    return {"images": shown} if shown else {}


def _print_row(row: dict[str, Any]) -> None:
    cut = ", its end is cut" if row["cut"] else ""
    for one in row.get("images", []):
        cut += f", an image of {one['width']:,} x {one['height']:,}"
    output.pieces([(row["origin"], "bold"), (f"  {row['tokens']:,} tokens, {row['trained']:,} trained on{cut}", "dim")])
    plain = not output.stdout_has_colour()
    output.pieces(
        (f"[[{part['text']}]]" if plain and part["trained"] else part["text"], "green" if part["trained"] else "")
        for part in row["text"]
    )
    output.data("")


def _print_statistics(prepared: Prepared, splits: list[str]) -> None:
    from lorry.data.stats import lines

    for name in splits:
        for line in lines(name, _facts(prepared, name), _split(prepared, name)):
            output.data(line)
    if prepared.facts.dropped_rows:
        output.data(f"left out, for no answer lies within max_length: {prepared.facts.dropped_rows:,} rows")
    if prepared.facts.near_duplicates:
        output.data(f"left out, for they nearly repeat an earlier one: {prepared.facts.near_duplicates:,} rows")
    if prepared.facts.bad_rows:
        output.data(f"skipped, for they cannot be used: {prepared.facts.bad_rows:,} rows")
