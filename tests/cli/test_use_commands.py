"""`lorry evaluate`, `generate` and `chat` on a real tiny run and on plain adapters."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lorry.cli.main import run as lorry
from lorry.evaluate.opening import find
from lorry.track.folder import RunFolder
from tiny_adapters import finished_run

ROWS = [("list files", "ls"), ("where am i", "pwd"), ("wipe", "mkfs.ext4 /dev/sda1"), ("who", "whoami"), ("x", "y")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunFolder]:
    folder = tmp_path_factory.mktemp("use")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LORRY_HOME", str(folder / "home"))
        return folder / "home", finished_run(folder / "home", folder, ROWS)


@pytest.fixture
def run(made: tuple[Path, RunFolder], monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.setenv("LORRY_HOME", str(made[0]))
    return made[1]


def rows_file(folder: Path) -> Path:
    file = folder / "other.jsonl"
    turns = [[{"role": "user", "content": text}, {"role": "assistant", "content": "ls"}] for text in ("a", "b", "c")]
    file.write_text("".join(json.dumps({"messages": one}) + "\n" for one in turns))
    return file


def test_evaluate_scores_a_run_and_writes_its_folder(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert lorry(["evaluate", run.id]) == 0
    shown = capsys.readouterr()
    assert "eval rows: 5, answers: 4" in shown.out
    assert "perplexity" in shown.out
    assert "expected" in shown.out
    assert "4 of 5 eval tasks" in shown.err
    scores = json.loads((run.evaluation / "scores.json").read_text())
    assert set(scores["splits"]["eval"]["scores"]) == {"loss", "perplexity", "exact_match", "dangerous_command"}


def test_evaluate_on_other_rows_leaves_the_runs_scores_alone(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run.evaluation / "scores.json").read_bytes() if run.evaluation.exists() else None
    assert lorry(["evaluate", run.id, "--data", str(rows_file(tmp_path)), "--samples", "2", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["splits"]["eval"]["rows"] == 3
    assert len(scores["samples"]) == 2
    after = (run.evaluation / "scores.json").read_bytes() if run.evaluation.exists() else None
    assert after == before


def test_evaluate_warns_of_rows_that_do_not_fit(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b" * 2000}]
    (tmp_path / "long.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    assert lorry(["evaluate", run.id, "--data", str(tmp_path / "long.jsonl"), "--rows", "0"]) == 0
    assert "warning: 1 of 1 train rows lose their end" in capsys.readouterr().err


def test_evaluate_takes_metrics_by_name(run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--data", str(rows_file(tmp_path)), "--metrics", "bash_valid, exact_match", "--json"]
    assert lorry(["evaluate", run.id, *given]) == 0
    names = set(json.loads(capsys.readouterr().out)["splits"]["eval"]["scores"])
    assert names == {"loss", "perplexity", "bash_valid", "exact_match"}


def test_evaluate_scores_an_adapter_that_lorry_did_not_make(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = shutil.copytree(run.adapter, tmp_path / "plain")
    assert lorry(["evaluate", str(adapter), "--data", str(rows_file(tmp_path)), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["splits"]["eval"]["scores"]
    assert set(scores) == {"loss", "perplexity", "exact_match"}


def test_evaluate_without_rows_says_that_an_adapter_is_complete_and_loads(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = shutil.copytree(run.adapter, tmp_path / "plain")
    assert lorry(["evaluate", str(adapter)]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("the adapter is complete and loads on ")
    assert "--data FILE" in shown.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "exact_mach"], "did you mean `exact_match`?"),
        (["--data", "no-such-file.jsonl"], "no-such-file.jsonl"),
        (["--metrics", "exact_match,exact_match"], "named twice"),
    ],
)
def test_evaluate_refuses_wrong_input_before_loading(
    run: RunFolder, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert lorry(["evaluate", run.id, *arguments]) == 2
    assert message in capsys.readouterr().err


def test_generate_prints_both_sides(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert lorry(["generate", run.id, "--prompt", "list files", "--max-new-tokens", "5"]) == 0
    out = capsys.readouterr().out
    assert out.index("base model:") < out.index("adapter:")


def test_generate_as_json_has_both_answers_and_speeds(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert lorry(["generate", run.id, "-p", "list files", "--max-new-tokens", "5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["base"] != found["adapter"]
    assert found["tokens_per_second"]["base"] > 0


def test_generate_of_one_side_prints_its_text_alone(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert lorry(["generate", run.id, "-p", "list files", "--max-new-tokens", "5", "--json"]) == 0
    both = json.loads(capsys.readouterr().out)
    for side in ("base", "adapter"):
        assert lorry(["generate", run.id, "-p", "list files", "--max-new-tokens", "5", f"--{side}"]) == 0
        assert capsys.readouterr().out == both[side] + "\n"


def test_generate_reads_the_prompt_from_stdin(
    run: RunFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("list files\n"))
    assert lorry(["generate", run.id, "--prompt", "-", "--max-new-tokens", "5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["prompt"] == "list files"


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_generate_without_a_prompt_is_refused(run: RunFolder, capsys: pytest.CaptureFixture[str], prompt: str) -> None:
    assert lorry(["generate", run.id, "--prompt", prompt]) == 2
    assert "there is no prompt" in capsys.readouterr().err


def test_generate_says_when_the_prompt_fills_the_context(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert lorry(["generate", run.id, "--prompt", "x" * 400, "--adapter"]) == 0
    assert "fills the context" in capsys.readouterr().err


def test_chat_answers_each_line_of_piped_stdin_until_it_ends(
    run: RunFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("list files\n/both\nwho\n/base\n/reset\n/nonsense\n"))
    assert lorry(["chat", run.id, "--max-new-tokens", "4"]) == 0
    out = capsys.readouterr().out
    for expected in (
        "both answer",
        "base model: ",
        "adapter: ",
        "the base model answers",
        "starts anew",
        "no `/nonsense`",
    ):
        assert expected in out


def test_chat_ends_at_exit_without_reading_on(
    run: RunFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("/exit\n/both\n"))
    assert lorry(["chat", run.id]) == 0
    assert capsys.readouterr().out == ""


def test_chat_answer_is_what_generate_gives(
    run: RunFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lorry(["generate", run.id, "-p", "list files", "--max-new-tokens", "6", "--adapter"])
    expected = capsys.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.StringIO("list files\n"))
    lorry(["chat", run.id, "--max-new-tokens", "6"])
    assert capsys.readouterr().out == expected


def test_chat_on_a_terminal_shows_the_help_and_ends_with_the_input(
    run: RunFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.StringIO("/both\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    assert lorry(["chat", run.id]) == 0
    shown = capsys.readouterr()
    assert "/reset forgets the conversation" in shown.err
    assert shown.out == "both answer\n"


def test_importing_the_commands_leaves_torch_out() -> None:
    script = (
        "import sys, lorry.cli.commands.evaluate, lorry.cli.commands.generate, lorry.cli.commands.chat;"
        "sys.exit(bool({'torch', 'transformers', 'datasets', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_adapter_is_asked_with_the_system_message_that_its_rows_have(run: RunFolder) -> None:
    system = {"role": "system", "content": "One word."}
    run.evaluation.mkdir(exist_ok=True)
    (run.evaluation / "answers.jsonl").write_text("", "utf-8")
    found = find(run.id)
    assert found.usual_system == ""
    rows = [{"messages": [system, {"role": "user", "content": text}]} for text in ("a", "b")]
    (run.evaluation / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    assert found.usual_system == "One word."
    rows.append({"messages": [{"role": "user", "content": "c"}]})
    (run.evaluation / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    assert found.usual_system == ""
