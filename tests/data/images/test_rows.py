"""Images as rows write them: which are read, in which order, and what each mistake is told as, with its place."""

from __future__ import annotations

import base64
import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from image_server import serving
from lorry.data.prepare import Prepared, prepare
from lorry.data.tokenizer import Tokenizer
from lorry.errors import DataError
from lorry.recipe.schema import Recipe
from model_folders import save_model
from tiny_vision import picture, save_vision

ANSWER = {"role": "assistant", "content": "a cat"}
INLINE = base64.b64encode(picture(1)).decode()
JPEG = base64.b64encode(picture(1, form="JPEG")).decode()


@cache
def model(folder: Path) -> Path:
    return save_vision(folder / "model")


@pytest.fixture
def model_folder(tmp_path_factory) -> Path:
    return model(tmp_path_factory.getbasetemp())


@pytest.fixture
def made(tmp_path, model_folder):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "one.png").write_bytes(picture(1))
    (tmp_path / "images" / "two.png").write_bytes(picture(2, 50, 20))

    def prepared(rows: list[dict[str, Any]], **data: Any) -> Prepared:
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return of_file(tmp_path, model_folder, "rows.jsonl", **data)

    return prepared


def of_file(base: Path, folder: Path, name: str, **data: Any) -> Prepared:
    settings = {"train": name, "eval_split": 0, **data}
    recipe = Recipe.model_validate({"model": {"id": str(folder)}, "data": settings, **data.pop("also", {})})
    return prepare(recipe, base, Tokenizer.open(folder))


def asked(text: Any = "<image>what is there", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}, ANSWER], **more}


def shown(prepared: Prepared, index: int = 0) -> list[bytes]:
    return [one.picture.content() for one in prepared.train[index].images]


@pytest.mark.parametrize(
    "named",
    [
        "images/one.png",
        INLINE,
        JPEG,
        f"data:image/png;base64,{INLINE}",
        {"bytes": None, "path": "images/one.png"},
        {"url": f"data:image/png;base64,{INLINE}"},
    ],
)
def test_image_is_read_however_it_is_named(made, named):
    prepared = made([asked(images=[named])])
    (content,) = shown(prepared)
    assert content in (picture(1), picture(1, form="JPEG"))
    (image,) = prepared.train[0].images
    assert image.end - image.start == 16
    assert not prepared.train[0].trained[image.start : image.end].any()


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "image", "image": "images/one.png"}, {"type": "text", "text": "see"}],
        [
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{INLINE}"}},
            {"type": "text", "text": "see"},
        ],
        [{"type": "image_url", "image_url": "images/one.png"}, "see"],
        [{"type": "image", "path": "images/one.png"}, {"type": "text", "text": "see"}],
    ],
)
def test_image_is_read_from_typed_parts(made, content):
    assert shown(made([asked(content)])) == [picture(1)]


def test_images_stand_in_the_order_of_their_marks(made):
    prepared = made([asked("first <image>, then <image>", images=["images/two.png", "images/one.png"])])
    assert shown(prepared) == [picture(2, 50, 20), picture(1)]
    task = prepared.tasks("train")[0]
    assert [one.content() for one in task.pictures] == shown(prepared)


def test_images_that_are_not_marked_stand_before_the_first_question(made):
    unmarked = made([asked("what is there", images=["images/one.png"])]).train[0]
    marked = made([asked("<image>what is there", images=["images/one.png"])]).train[0]
    assert unmarked.ids.tolist() == marked.ids.tolist()


def test_image_part_without_a_name_takes_the_next_of_the_column(made):
    content = [{"type": "image"}, {"type": "text", "text": "see"}, {"type": "image"}]
    prepared = made([asked(content, images=["images/one.png", "images/two.png"])])
    assert shown(prepared) == [picture(1), picture(2, 50, 20)]


def test_turn_may_name_its_own_images(made):
    turns = [{"role": "user", "content": "see", "images": ["images/one.png"]}, ANSWER]
    assert shown(made([{"messages": turns}])) == [picture(1)]


@pytest.mark.parametrize(
    ("parts", "order"),
    [
        (["see"], [1]),
        (["<image>see"], [1]),
        ([{"type": "image"}, "see"], [1]),
        ([{"type": "image", "image": "images/two.png"}, "see"], [1, 2]),
        ([{"type": "image", "image": "images/two.png"}, {"type": "image"}], [2, 1]),
    ],
)
def test_turn_may_name_its_own_images_beside_typed_parts(made, parts, order):
    turns = [{"role": "user", "content": parts, "images": ["images/one.png"]}, ANSWER]
    kept = {1: picture(1), 2: picture(2, 50, 20)}
    assert shown(made([{"messages": turns}])) == [kept[number] for number in order]


def test_sharegpt_rows_show_images(made):
    turns = [{"from": "human", "value": "<image>see"}, {"from": "gpt", "value": "a cat"}]
    assert shown(made([{"conversations": turns, "images": ["images/one.png"]}])) == [picture(1)]


def test_bytes_in_parquet_are_read(tmp_path, model_folder):
    images = [[{"bytes": picture(1), "path": None}], [{"bytes": picture(2), "path": "x.png"}]]
    turns = [[{"role": "user", "content": "<image>see"}, ANSWER]] * 2
    pq.write_table(pa.table({"messages": turns, "images": images}), tmp_path / "rows.parquet")
    prepared = of_file(tmp_path, model_folder, "rows.parquet")
    assert [shown(prepared, at) for at in range(2)] == [[picture(1)], [picture(2)]]


def test_image_is_fetched_from_a_url(made):
    with serving() as (at, pages):
        pages["/one.png"] = [picture(1)]
        assert shown(made([asked(images=[f"{at}/one.png"])])) == [picture(1)]
        with pytest.raises(DataError, match="404") as told:
            made([asked(images=[f"{at}/two.png"])])
        assert told.value.place == "rows.jsonl:1"


WRONG = [
    (asked("<image><image>see", images=["images/one.png"]), "2 `<image>` marks, 1 image"),
    (asked("<image>see", images=["images/one.png", "images/two.png"]), "1 `<image>` mark, 2 images"),
    (asked([{"type": "image"}]), "1 `<image>` mark, 0 images"),
    (asked(images=["images/no.png"]), "there is no image `images/no.png`"),
    (asked(images=[7]), "names no image"),
    (asked(images=["~nosuchuser/x.png"]), "there is no image `~nosuchuser/x.png`"),
    (asked(images=["file://[x/a.png"]), "there is no image `file://[x/a.png`"),
    (asked(images=["http://a..b/x.png"]), "http://a..b/x.png cannot be fetched"),
    (asked(images=["http://[x/x.png"]), "http://[x/x.png cannot be fetched"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image"}] * 2, "images": ["images/one.png"]}, ANSWER]},
        "2 `<image>`",
    ),
    (asked([{"type": "video", "video": "a.mp4"}]), "`video` is not text"),
    (asked("<image>see \ufffc", images=["images/one.png"]), "U+FFFC"),
    ({"messages": [{"role": "system", "content": "x"}, ANSWER], "images": ["images/one.png"]}, "no user turn"),
]


@pytest.mark.parametrize(("row", "told"), WRONG)
def test_row_that_names_its_images_wrongly_is_told_with_its_place(made, row, told):
    with pytest.raises(DataError) as caught:
        made([asked(images=["images/one.png"]), row])
    assert caught.value.place == "rows.jsonl:2"
    assert told in caught.value.message
    assert caught.value.hint


def test_corrupt_images_are_skipped_counted_and_named(made, tmp_path):
    (tmp_path / "images" / "torn.png").write_bytes(picture(3)[:60])
    (tmp_path / "images" / "torn.jpg").write_bytes(picture(3, 400, 300, "JPEG")[:-700])
    (tmp_path / "images" / "text.png").write_text("no image")
    rows = [asked(images=[f"images/{name}"]) for name in ("one.png", "torn.png", "torn.jpg", "text.png")]
    prepared = made(rows)
    assert len(prepared.train) == 1
    assert prepared.facts.bad_images == 3
    (said,) = [one for one in prepared.facts.said if one.code == "data.bad-image"]
    assert said.place == "rows.jsonl:2"
    assert all(f"rows.jsonl:{line}" in said.text for line in (2, 3, 4))
    with pytest.raises(DataError, match="cannot be decoded"):
        made(rows, on_bad_image="fail")


def test_rows_of_which_every_image_is_corrupt_are_an_error(made, tmp_path):
    (tmp_path / "images" / "text.png").write_text("no image")
    with pytest.raises(DataError, match="cannot be decoded") as caught:
        made([asked(images=["images/text.png"])])
    assert caught.value.place == "rows.jsonl:1"


def test_row_is_never_cut_within_an_image(made):
    turns = [{"role": "user", "content": "<image>see"}, ANSWER, {"role": "user", "content": "<image>and"}, ANSWER]
    row = {"messages": turns, "images": ["images/one.png", "images/two.png"]}
    whole = made([row]).train[0]
    second = whole.images[1]
    for length in (second.start + 1, second.end - 1):
        prepared = made([row], max_length=length)
        cut = prepared.train[0]
        assert len(cut.ids) == second.start
        assert len(cut.images) == 1
        assert prepared.was_cut("train", 0)
        (said,) = [one for one in prepared.facts.said if one.code == "data.cut-image"]
        assert "1 of 1" in said.text
    assert len(made([row], max_length=second.end).train[0].images) == 2


def test_row_whose_image_leaves_no_room_for_an_answer_is_left_out(made):
    short = asked("see")
    prepared = made([short, asked(images=["images/one.png"])], max_length=20)
    assert prepared.facts.dropped_rows == 1
    assert len(prepared.train) == 1


def test_rows_with_other_images_are_not_the_same_prompt(made):
    rows = [asked(images=[f"images/{name}.png"]) for name in ("one", "two")]
    prepared = made(rows, eval_split=1)
    assert (len(prepared.train), len(prepared.eval or [])) == (1, 1)


def test_equal_images_are_kept_once(made):
    prepared = made([asked(images=["images/one.png"]), asked(images=[INLINE])])
    assert prepared.facts.images == 1
    assert (prepared.folder / "images.bin").read_bytes() == picture(1)


def test_changed_image_file_is_rendered_anew(made, tmp_path):
    before = made([asked(images=["images/one.png"])])
    assert made([asked(images=["images/one.png"])]).folder == before.folder
    (tmp_path / "images" / "one.png").write_bytes(picture(9, 60, 60))
    after = made([asked(images=["images/one.png"])])
    assert after.folder != before.folder
    assert shown(after) == [picture(9, 60, 60)]
    assert shown(before) == [picture(1)]
    assert after.facts.train.sha256 != before.facts.train.sha256


def test_copied_project_shows_its_own_images(tmp_path, model_folder):
    for name, seed in (("a", 1), ("b", 2)):
        (tmp_path / name / "images").mkdir(parents=True)
        (tmp_path / name / "images" / "one.png").write_bytes(picture(seed))
        (tmp_path / name / "rows.jsonl").write_text(json.dumps(asked(images=["images/one.png"])), encoding="utf-8")
    folders = [of_file(tmp_path / name, model_folder, "rows.jsonl") for name in ("a", "b", "a")]
    assert [shown(one) for one in folders] == [[picture(1)], [picture(2)], [picture(1)]]
    assert folders[0].folder == folders[2].folder


@pytest.mark.parametrize("broken", [None, b"no image", picture(7)[:60]])
def test_repaired_image_is_no_longer_skipped(made, tmp_path, broken):
    file = tmp_path / "images" / "late.png"
    if broken is not None:
        file.write_bytes(broken)
    rows = [asked(images=[name]) for name in ("images/one.png", "images/late.png")]
    assert len(made(rows, on_bad_row="skip").train) == 1
    file.write_bytes(picture(7))
    assert len(made(rows, on_bad_row="skip").train) == 2


def test_url_that_failed_is_asked_again(made):
    with serving() as (at, pages):
        rows = [asked(images=[name]) for name in ("images/one.png", f"{at}/late.png")]
        assert len(made(rows, on_bad_row="skip").train) == 1
        pages["/late.png"] = [picture(7)]
        whole = made(rows, on_bad_row="skip")
        assert len(whole.train) == 2
        pages.clear()
        assert made(rows, on_bad_row="skip").folder == whole.folder


def test_images_travel_with_the_rows_that_show_them(made, tmp_path):
    prepared = made([asked(images=["images/one.png"]), asked("no image")])
    shutil.copytree(prepared.folder, tmp_path / "elsewhere" / "rows")
    shutil.rmtree(prepared.folder)
    shutil.rmtree(tmp_path / "images")
    there = Prepared.open(tmp_path / "elsewhere" / "rows")
    assert shown(there) == [picture(1)]
    assert there.train.sha256() == prepared.facts.train.sha256


def test_images_may_lie_in_a_folder_of_their_own(made, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "three.png").write_bytes(picture(3))
    assert shown(made([asked(images=["three.png"])], image_folder="elsewhere")) == [picture(3)]


def test_text_model_refuses_rows_with_images(tmp_path):
    folder = save_model(tmp_path / "text")
    (tmp_path / "one.png").write_bytes(picture(1))
    (tmp_path / "rows.jsonl").write_text(json.dumps(asked(images=["one.png"])), encoding="utf-8")
    with pytest.raises(DataError, match="the model reads none"):
        of_file(tmp_path, folder, "rows.jsonl")


@pytest.mark.parametrize("value", ["ubuntu:22.04", "https://127.0.0.1:1/x.png", 3, False, ["a.png"], "[torn"])
def test_text_model_ignores_a_column_that_only_is_named_like_one_of_images(tmp_path, value):
    folder = save_model(tmp_path / "text")
    row = {"prompt": "what runs here", "completion": "a shell", "image": value}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row), encoding="utf-8")
    prepared = of_file(tmp_path, folder, "rows.jsonl")
    assert len(prepared.train) == 1
    (note,) = [one for one in prepared.facts.notes if "reads no images" in one]
    assert "1 train row " in note


@pytest.mark.parametrize("value", [3, 0.5, False])
def test_column_of_numbers_names_no_image(made, value):
    prepared = made([{"prompt": "what is there", "completion": "a cat", "image": value}])
    assert prepared.train[0].images == ()


def test_max_pixels_makes_fewer_tokens(tmp_path):
    folder = save_vision(tmp_path / "model", "qwen3_vl")
    (tmp_path / "one.png").write_bytes(picture(1, 256, 256))
    (tmp_path / "rows.jsonl").write_text(json.dumps(asked(images=["one.png"])), encoding="utf-8")
    whole, small = (
        of_file(tmp_path, folder, "rows.jsonl", **more).train[0] for more in ({}, {"max_pixels": 128 * 128})
    )
    assert whole.images[0].grid == (8, 8)
    assert small.images[0].grid == (4, 4)
