"""The files of a report: complete, safe whatever users' data holds, and there however a run ended."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

import run_folders
from lorry.report.write import write
from lorry.track.folder import RunFolder, write_json

HOSTILE = [
    "<script>alert(1)</script>",
    "</pre></style><img src=x onerror=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "```\n# not a heading\n````",
    "| a | b |\n---\n",
    "\x00\x1b[31m\x9b\u202e\ud800",
    "Ω≈ç√ 田中さん 👾 \u200b",
    "a" * 5000,
]


class Tags(HTMLParser):
    """Collects tags, attributes and the text that a reader sees."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def judged_run(path: Path, *texts: str) -> RunFolder:
    """A run that learnt from its own answers; rewards, and answers of its last rollout, have these texts."""
    log = run_folders.begun(path, recorded=0)
    for step in (1, 2, 3):
        told = {"kl": 0.1, "answer_tokens": 8.0, "ended": 0.5, "deviation": 0.2}
        run_folders.add_step(log, step, loss=0.1, reward=step / 10, **told, **{f"reward_{text}": 0.5 for text in texts})
    samples = [{"origin": text, "reward": 0.5, "answer": text} for text in texts]
    log.append("rollout", step=3, answers=4, reward=0.3, samples=samples)
    log.append("evaluated", step=3, reward=0.4)
    return RunFolder(path)


def test_run_that_learnt_from_its_answers_shows_rewards_and_some_of_them(tmp_path: Path):
    folder = judged_run(tmp_path / "run", "brevity", "exact_match")
    write(folder)
    page = Tags(folder.report_html.read_text())
    titles = ["Mean reward of the model's answers", "Reward: brevity", "Reward: exact_match", "Tokens of an answer"]
    assert all(f"{title} by step" in page.text for title in [*titles, "Distance from the reference"])
    assert "deviation" not in page.text
    assert "Answers of the last rollout" in page.text
    assert "brevity, reward 0.5000\n\n```text\nbrevity\n```" in folder.report.read_text()


def test_hostile_answers_and_names_of_rewards_never_become_markup(tmp_path: Path):
    folder = judged_run(tmp_path / "run", *HOSTILE)
    write(folder)
    text = folder.report_html.read_text(encoding="utf-8")
    assert not {"script", "img", "b"} & set(Tags(text).tags)
    assert not re.search("[\x00-\x08\x0e-\x1f\x7f-\x9f\u202e\ud800]", text)
    outside = without_fences(folder.report.read_text(encoding="utf-8"))
    assert "<script>" not in outside.replace("\\<", "")


def hostile_run(path: Path) -> RunFolder:
    samples = [
        {"origin": text[:50], "prompt": [{"role": text, "content": text}], "truth": text, "base": text, "adapter": text}
        for text in HOSTILE
    ]
    scores: dict[str, Any] = json.loads(json.dumps(run_folders.SCORES))
    scores["splits"]["<b>split"] = {
        "rows": 1,
        "scores": {text[:60]: {"base": None, "adapter": None} for text in HOSTILE},
    }
    scores["dangerous"] = [{"command": text, "reason": text, "mark": "new", "seen_at": text} for text in HOSTILE]
    folder = run_folders.finished(path, samples=samples, scores=scores)
    recipe = {**run_folders.RECIPE, "model": {"id": HOSTILE[0]}, "data": {"train": HOSTILE}}
    write_json(folder.resolved, {"recipe": recipe, "model_folder": HOSTILE[0]})
    write_json(folder.provenance, {"command": HOSTILE, "versions": dict(zip(HOSTILE, HOSTILE, strict=True))})
    return folder


def test_finished_run_gets_all_four_files(tmp_path: Path):
    folder = run_folders.finished(tmp_path / "run")
    write(folder)
    assert json.loads(folder.summary.read_text())["status"] == "finished"
    assert "| exact_match | 0.0200 (0 to 0.0400) | 0.9000 (0.8200 to 0.9800) | better |" in folder.report.read_text()
    assert (folder.adapter / "README.md").exists()
    assert "0.9000 (0.8200 to 0.9800)" in folder.report_html.read_text()


def test_page_needs_nothing_else_and_runs_nothing(tmp_path: Path):
    folder = run_folders.finished(tmp_path / "run")
    write(folder)
    page = Tags(folder.report_html.read_text())
    assert not {"script", "link", "iframe", "img", "object"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name in ("src", "href") or name.startswith("on")]
    assert page.tags.count("svg") == 2
    assert page.tags.count("polyline") == 3


def test_hostile_strings_are_shown_and_never_become_markup(tmp_path: Path):
    folder = hostile_run(tmp_path / "run")
    write(folder)
    text = folder.report_html.read_text(encoding="utf-8")
    page = Tags(text)
    assert not {"script", "img", "b"} & set(page.tags)
    assert page.tags.count("style") == 1
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert not re.search("[\x00-\x08\x0e-\x1f\x7f-\x9f\u202e\ud800]", text)


def test_hostile_strings_do_not_break_out_of_the_markdown(tmp_path: Path):
    folder = hostile_run(tmp_path / "run")
    write(folder)
    outside = without_fences(folder.report.read_text(encoding="utf-8"))
    assert "<script>" not in outside.replace("\\<", "")
    assert "# not a heading" not in [line.strip() for line in outside.splitlines()]
    for line in (line for line in outside.splitlines() if line.startswith("| ") and "alert" in line):
        assert len(re.findall(r"(?<!\\)\|", line)) in (3, 5)


def without_fences(text: str) -> str:
    """Markdown without its code blocks, by CommonMark's rule: a fence ends at one at least as long, of nothing else."""
    kept: list[str] = []
    fence = ""
    for line in text.splitlines():
        found = re.match(r"`{3,}", line)
        if fence and found and line.strip() == found[0] and len(found[0]) >= len(fence):
            fence = ""
        elif not fence and found:
            fence = found[0]
        elif not fence:
            kept.append(line)
    return "\n".join(kept)


def test_model_card_has_front_matter_that_the_hub_reads(tmp_path: Path):
    folder = run_folders.finished(tmp_path / "run")
    write(folder)
    card = (folder.adapter / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["base_model"] == "org/tiny-1b"
    assert (front["library_name"], front["base_model_relation"]) == ("peft", "adapter")
    assert {"lora", "sft", "lorry"} <= set(front["tags"])
    assert 'from_pretrained("org/tiny-1b", dtype="auto")' in card
    assert "| rows.jsonl | 5437dac1 |" in card
    assert "/home/someone" not in card


def test_model_card_of_hostile_run_keeps_its_front_matter_and_its_code_whole(tmp_path: Path):
    folder = hostile_run(tmp_path / "run")
    write(folder)
    card = (folder.adapter / "README.md").read_text(encoding="utf-8")
    assert "base_model" not in yaml.safe_load(card.split("---\n")[1])
    code = re.search(r"```python\n(.*?)\n```", card, re.DOTALL)
    assert code is not None
    compile(code[1], "card", "exec")


def test_model_card_takes_the_licence_from_the_base_models_own_card(tmp_path: Path):
    folder = run_folders.finished(tmp_path / "run")
    model = tmp_path / "model"
    model.mkdir()
    (model / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Tiny\n")
    write_json(folder.resolved, {"recipe": run_folders.RECIPE, "model_folder": str(model)})
    write(folder)
    assert "license: apache-2.0" in (folder.adapter / "README.md").read_text()


def test_model_card_names_a_local_model_without_its_folders(tmp_path: Path):
    folder = run_folders.finished(tmp_path / "run")
    recipe = {**run_folders.RECIPE, "model": {"id": "/home/someone/models/tiny"}}
    write_json(folder.resolved, {"recipe": recipe})
    write(folder)
    card = (folder.adapter / "README.md").read_text()
    assert "A LoRA adapter for tiny, made with lorry" in card
    assert "| Model | tiny |" in card
    assert "/home/someone" not in card


def test_endless_front_matter_of_the_base_model_does_no_harm(tmp_path: Path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "README.md").write_text(f"---\nlicense: {'[' * 20_000}\n---\n")
    folder = run_folders.finished(tmp_path / "run")
    write_json(folder.resolved, {"recipe": run_folders.RECIPE, "model_folder": str(model)})
    write(folder)
    assert "license" not in (folder.adapter / "README.md").read_text()


def test_full_fine_tuning_is_no_adapter_in_its_card(tmp_path: Path):
    folder = run_folders.finished(tmp_path / "run")
    write_json(folder.resolved, {"recipe": {**run_folders.RECIPE, "lora": None}, "model_folder": "m"})
    write(folder)
    card = (folder.adapter / "README.md").read_text()
    assert yaml.safe_load(card.split("---\n")[1])["library_name"] == "transformers"
    assert "PeftModel" not in card


def test_failed_run_is_reported_with_its_reason_and_without_a_card(tmp_path: Path):
    folder = run_folders.failed(tmp_path / "run", error="<b>out of memory</b>")
    write(folder)
    assert "Why it failed" in folder.report_html.read_text()
    assert "&lt;b&gt;out of memory" in folder.report_html.read_text()
    assert "What to do: lower train.learning_rate" in folder.report.read_text()
    assert not folder.adapter.exists()


def test_run_without_evaluation_is_reported_and_says_that_nothing_was_compared(tmp_path: Path):
    folder = run_folders.finished(tmp_path / "run", scores=None)
    write(folder)
    assert "not compared with the base model" in folder.report.read_text()
    assert "Scores" not in folder.report_html.read_text()


@pytest.mark.parametrize("recorded", [0, 1])
def test_run_that_ended_at_once_is_reported(tmp_path: Path, recorded: int):
    folder = run_folders.failed(tmp_path / "run", recorded=recorded)
    write(folder)
    assert folder.report.exists()
    assert folder.report_html.read_text().count("<svg") == (2 if recorded else 0)


def test_empty_folder_is_reported(tmp_path: Path):
    folder = RunFolder(tmp_path / "run")
    summary = write(folder)
    assert summary["status"] == "created"
    assert folder.report_html.exists()


def test_diverged_run_gives_a_summary_that_strict_parsers_read(tmp_path: Path):
    log = run_folders.begun(tmp_path / "run", recorded=3)
    run_folders.add_step(log, 4, loss=float("nan"))
    folder = RunFolder(tmp_path / "run")
    write(folder)
    summary = json.loads(folder.summary.read_text(), parse_constant=lambda name: pytest.fail(name))
    assert summary["loss"]["final"] == {"step": 4, "loss": None}
    assert "the loss was not a number" in folder.report.read_text()


def test_status_from_the_store_is_reported(tmp_path: Path):
    run_folders.begun(tmp_path / "run", recorded=3)
    assert write(RunFolder(tmp_path / "run"), status="interrupted")["status"] == "interrupted"


def test_report_written_twice_is_the_same(tmp_path: Path):
    folder = run_folders.finished(tmp_path / "run")
    write(folder)
    before = folder.report_html.read_bytes()
    write(folder)
    assert folder.report_html.read_bytes() == before


def test_naughty_strings_as_samples_do_no_harm(tmp_path: Path, shared_data: Path):
    strings: list[str] = json.loads((shared_data / "dirty" / "blns.json").read_text(encoding="utf-8"))
    samples = [{"origin": "o", "prompt": text, "truth": text, "base": text, "adapter": text} for text in strings]
    folder = run_folders.finished(tmp_path / "run", samples=samples)
    write(folder)
    plain = run_folders.finished(tmp_path / "plain")
    write(plain)
    page = Tags(folder.report_html.read_text(encoding="utf-8"))
    assert set(page.tags) == set(Tags(plain.report_html.read_text(encoding="utf-8")).tags)
    assert page.tags.count("pre") == 4 * len(strings)
