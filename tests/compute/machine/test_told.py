"""What a machine tells is believed only where it is sound."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

import run_folders
from lorry.cli import narrate
from lorry.compute.machine.told import _TYPES, AgentGone, Beat, Checkpoints, Ended, Judge
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.track.events import CONTROLLERS, KINDS, Event, read
from lorry.track.state import state
from lorry.trainer.ladder import Rung

BEAT = {"at": 5.0, "agent": 7, "trainer": 8, "attempt": 1, "step": 3, "phase": "training", "seconds": 9.5}


def event(**changes: Any) -> bytes:
    found = {"seq": 1, "at": 5.0, "kind": "note", "attempt": 1, "step": None, "data": {"message": "hello"}}
    return b"e " + json.dumps(found | changes).encode() + b"\n"


def told(*lines: bytes, after: int = 0):
    judge = Judge(after, 0.0)
    return [judge.told(line, 1.0) for line in lines]


def refused(*lines: bytes, after: int = 0) -> str:
    with pytest.raises(OutcomeError) as caught:
        told(*lines, after=after)
    assert caught.value.outcome is Outcome.UNTRUSTED
    assert len(str(caught.value)) < 300
    assert caught.value.message.isprintable()
    return str(caught.value)


def test_every_line_of_a_run_is_told_as_the_event_that_it_is(tmp_path: Path):
    for run in (run_folders.finished(tmp_path / "a"), run_folders.failed(tmp_path / "b")):
        known = [event for event in read(run.events) if event.kind in CONTROLLERS]
        begins = max(event.seq for event in known)
        lines = run.events.read_bytes().splitlines(keepends=True)[begins:]
        assert told(*(b"e " + line for line in lines), after=begins) == list(read(run.events, after=begins))


def test_every_field_of_every_kind_has_a_type():
    kinds = set(KINDS) - CONTROLLERS
    assert {name for kind in kinds for name in KINDS[kind]} <= set(_TYPES)


def test_events_go_on_after_the_last_known():
    assert told(event(seq=8), event(seq=9), after=7)[1] == Event(9, 5.0, "note", 1, None, {"message": "hello"})


def test_unknown_fields_of_a_newer_version_are_left_out():
    assert told(event(signature="x")) == told(event())


def test_fields_beside_those_of_a_kind_are_kept():
    (found,) = told(event(data={"message": "m", "of": [1, 2]}))
    assert found.data == {"message": "m", "of": [1, 2]}


RUNG = {"micro_batch": 4, "accumulation": 2, "activation_checkpointing": False, "eval_batch": 8, "generation_batch": 1}


def test_rung_has_no_other_fields_for_the_next_agent_makes_one_of_it():
    (found,) = told(event(kind="rung", data={**RUNG, "evil": 1}))
    assert Rung(**found.data).as_dict() == RUNG


@pytest.mark.parametrize("change", [{"micro_batch": 0}, {"accumulation": 2**40}, {"activation_checkpointing": 1}])
def test_rung_that_is_none_is_refused(change):
    refused(event(kind="rung", data=RUNG | change))


def test_loss_that_is_no_number_is_told():
    data = {"loss": float("nan"), "learning_rate": 1e-4, "grad_norm": None, "trained_tokens": 5}
    (found,) = told(event(kind="step", step=1, data={**data, "tokens_per_second": 1.5, "memory_bytes": None}))
    assert found.data["loss"] != found.data["loss"]


def test_control_characters_reach_nobody():
    (found,) = told(event(data={"message": "\x1b[2Jgone\x07\u202e", "\x1bkey": ["\r\x00"]}))
    assert found.data == {"message": "\\x1b[2Jgone\\x07\\u202e", "\\x1bkey": ["\\x0d\\x00"]}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"seq": 2}, "event `2` after event 0"),
        ({"seq": 0}, "event `0` after event 0"),
        ({"seq": True}, "event `True` after event 0"),
        ({"seq": 1.0}, "event `1.0` after event 0"),
        ({"seq": "1"}, "event `1` after event 0"),
        ({"seq": None}, "event `nothing` after event 0"),
        ({"kind": "rm"}, "the kind `rm`"),
        ({"kind": ["note"]}, "the kind `list`"),
        ({"kind": "\x1b[2J"}, "the kind `\\x1b[2J`"),
        ({"at": "now"}, "at no time"),
        ({"at": -1}, "at no time"),
        ({"at": float("inf")}, "at no time"),
        ({"at": float("nan")}, "at no time"),
        ({"at": 1e300}, "at no time"),
        ({"attempt": 0}, "of no attempt"),
        ({"attempt": 1.5}, "of no attempt"),
        ({"attempt": "1"}, "of no attempt"),
        ({"step": -1}, "of no step"),
        ({"step": 2.5}, "of no step"),
        ({"step": True}, "of no step"),
        ({"step": "3"}, "of no step"),
        ({"step": 10**30}, "beyond all measure"),
        ({"seq": 10**40}, "beyond all measure"),
        ({"data": None}, "without data"),
        ({"data": []}, "without data"),
        ({"data": {}}, "without `message`"),
        ({"data": {"message": 5}}, "whose `message` is `5`"),
        ({"data": {"message": {"a": 1}}}, "whose `message` is `dict`"),
        ({"kind": "step", "data": {}}, "of no step"),
        ({"kind": "step", "step": 1, "data": {"loss": 1.0}}, "without `learning_rate`"),
        ({"kind": "evaluated", "step": 1, "data": {"loss": "low"}}, "whose `loss` is `low`"),
        ({"kind": "evaluated", "step": 1, "data": {"reward": [1]}}, "whose `reward` is `list`"),
        ({"kind": "rollout", "data": {"answers": 4}}, "of no step"),
        ({"kind": "rollout", "step": 1, "data": {"answers": -4}}, "whose `answers` is `-4`"),
        ({"kind": "rollout", "step": 1, "data": {"answers": 4, "reward": "x"}}, "whose `reward` is `x`"),
        ({"kind": "rollout", "step": 1, "data": {"answers": 4, "reward": 1, "samples": [{}]}}, "whose `samples` is"),
        ({"kind": "started", "data": {"steps": "5", "from_step": 0}}, "whose `steps` is `5`"),
        ({"kind": "started", "data": {"steps": 5, "from_step": -1}}, "whose `from_step` is `-1`"),
        ({"kind": "machine", "data": {"findings": ["x"]}}, "whose `findings` is `list`"),
        ({"kind": "stalled", "data": {"seconds": None, "phase": "x"}}, "whose `seconds` is `nothing`"),
        ({"kind": "delivered", "data": {"path": "adapter"}}, "without `step`"),
        ({"kind": "failed", "data": {"error": "e", "hint": "", "exit_code": True}}, "whose `exit_code` is `True`"),
    ],
)
def test_unsound_event_is_refused_in_a_sentence(changes, what):
    assert what in refused(event(**changes))


def test_whatever_is_believed_can_be_shown():
    draw = random.Random(3)
    values = [
        None,
        True,
        -1,
        0,
        7,
        2**63 - 1,
        1.5,
        float("nan"),
        float("inf"),
        "",
        "a\nb",
        [],
        ["r"],
        {},
        [{"message": "m"}],
    ]
    believed = 0
    for _ in range(60_000):
        kind = draw.choice(sorted(KINDS))
        data = {name: draw.choice(values) for name in KINDS[kind]}
        try:
            (found,) = told(event(kind=kind, step=draw.choice([None, 0, 5]), data=data))
        except OutcomeError:
            continue
        believed += 1
        assert isinstance(narrate.line(found), str)
        state([found])
    assert believed > 1000


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"e\n",
        b"q {}\n",
        b"e [1]\n",
        b"e null\n",
        b"e {\n",
        b"e \xff\xfe\n",
        b"e " + b"[" * 100_000 + b"\n",
        b'e {"seq": ' + b"9" * 5000 + b"}\n",
        b"e " + b'{"a":' * 900 + b"1" + b"}" * 900 + b"\n",
        b"h {}\n",
        b"h [null]\n",
        b"c {}\n",
        b'c ["step-000050", 7]\n',
        b'c ["../../etc"]\n',
        b'c ["step-000001/../x"]\n',
        b'c ["step-000001\\n"]\n',
        b"c " + json.dumps([f"step-{n:06}" for n in range(20_000)]).encode() + b"\n",
        b"g x\n",
        b"x nine\n",
        b"x " + b"1" * 40 + b"\n",
        b"! a line of events.jsonl is longer than a MiB \x1b[2J\n",
    ],
)
def test_garbage_is_refused(line):
    refused(line)


@pytest.mark.parametrize(
    "change",
    [{"step": "3"}, {"step": -1}, {"attempt": None}, {"phase": 7}, {"at": 1e12}, {"seconds": "x"}, {"seconds": -1.0}],
)
def test_unsound_heartbeat_is_refused(change):
    assert "a heartbeat that is none" in refused(b"h " + json.dumps(BEAT | change).encode() + b"\n")


def test_what_is_told_beside_events():
    found = told(
        b"h " + json.dumps(BEAT).encode(), b"h null", b'c ["step-000100", "step-000050"]', b"g 7", b"x 130", b"x ?"
    )
    assert found == [
        Beat(5.0, 1, 3, "training", 9.5),
        None,
        Checkpoints(("step-000050", "step-000100")),
        AgentGone(7),
        Ended(130),
        Ended(None),
    ]


def test_line_beyond_a_mebibyte_is_refused():
    assert "a line longer than a MiB" in refused(event(data={"message": "x" * (1 << 20)}))


def test_repeated_event_is_refused():
    assert "event `1` after event 1" in refused(event(), event())


def test_flood_is_refused_and_a_backlog_is_not():
    long = 1_000_000
    lines = [event(seq=n, data={"message": "x" * long}) for n in range(1, 70)]
    judge = Judge(0, 0.0)
    for number, line in enumerate(lines):
        judge.told(line, 2.0 * number)
    assert "more than 64 MiB in a minute" in refused(*lines)


def test_endless_log_is_refused_however_slow_it_is():
    judge, line = Judge(0, 0.0), b"h " + b" " * 1_000_000 + b"null"
    for number in range(1073):
        judge.told(line, 10.0 * number)
    with pytest.raises(OutcomeError, match="more than 1 GiB of events"):
        judge.told(line, 11_000.0)
