"""Following a run on a machine, with a real process on the other side."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import aclosing
from importlib.resources import files
from pathlib import Path

import pytest

from here import Here
from lorry.compute.machine.follow import AgentGone, Beat, Checkpoints, Ended, Patience, batches, follow
from lorry.compute.outcomes import Outcome, OutcomeError
from lorry.track.events import Event, EventLog, read

QUICK = Patience(pulse=0.4)
BEAT = {"at": 5.0, "attempt": 1, "step": 3, "phase": "training", "seconds": 9.5}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "lorry" / "runs" / "run-1"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def link(tmp_path: Path) -> Here:
    return Here(tmp_path)


async def until(link: Here, folder: Path, last, after: int = 0, patience: Patience = QUICK, **given) -> list:
    """All that is told up to something, the last included."""
    found = []
    async with asyncio.timeout(20), aclosing(follow(link, str(folder), after, patience=patience, **given)) as stream:
        async for one in stream:
            found.append(one)
            if isinstance(one, last) if isinstance(last, type) else one == last:
                break
    assert link.channels[-1].process.returncode is not None
    return found


def numbers(found: list) -> list[int]:
    return [one.seq for one in found if isinstance(one, Event)]


def test_events_are_told_from_a_number_on(link, folder):
    log = EventLog(folder / "events.jsonl")
    events = [log.append("note", message=f"note {number}") for number in range(5)]
    found = asyncio.run(until(link, folder, events[-1], after=2))
    assert found == events[2:]


def test_events_are_told_as_they_come_also_into_a_file_that_was_not_there(link, folder):
    async def work() -> list:
        found = asyncio.create_task(until(link, folder, Ended))
        await asyncio.sleep(0.5)
        log = EventLog(folder / "events.jsonl")
        for number in range(3):
            log.append("note", message=str(number))
            await asyncio.sleep(0.2)
        (link.home / ".lorry" / "ended").write_text("0\n")
        return await found

    found = asyncio.run(work())
    assert (numbers(found), found[-1]) == ([1, 2, 3], Ended(0))


def test_torn_line_waits_and_one_that_is_cut_away_is_never_told(link, folder):
    path = folder / "events.jsonl"
    log = EventLog(path)
    log.append("note", message="whole")
    with path.open("ab") as file:
        file.write(b'{"seq": 2, "at": 5.0, "kind": "no')

    async def work() -> list:
        found = asyncio.create_task(until(link, folder, Ended))
        await asyncio.sleep(1.2)
        EventLog(path).append("note", message="after the cut, and longer than what was there before it")
        (link.home / ".lorry" / "ended").write_text("0")
        return await found

    assert numbers(asyncio.run(work())) == [1, 2]


def test_file_that_is_replaced_is_read_anew_and_nothing_is_told_twice(link, folder):
    path = folder / "events.jsonl"
    log = EventLog(path)
    for number in range(3):
        log.append("note", message=str(number))

    async def work() -> list:
        found = asyncio.create_task(until(link, folder, Ended))
        await asyncio.sleep(1)
        copy = folder / "copy"
        copy.write_bytes(path.read_bytes())
        copy.replace(path)
        log.append("note", message="last")
        (link.home / ".lorry" / "ended").write_text("0")
        return await found

    assert numbers(asyncio.run(work())) == [1, 2, 3, 4]


def test_backlog_of_many_megabytes_is_told_whole(link, folder):
    line = {"at": 5.0, "kind": "note", "attempt": 1, "step": None, "data": {"message": "x" * 300}}
    with (folder / "events.jsonl").open("w") as file:
        file.writelines(json.dumps({"seq": number, **line}) + "\n" for number in range(1, 30_001))
    (link.home / ".lorry").mkdir()
    (link.home / ".lorry" / "ended").write_text("0")
    found = asyncio.run(until(link, folder, Ended, after=10))
    assert numbers(found) == list(range(11, 30_001))
    assert isinstance(found[-1], Ended)


def test_other_side_holds_itself_to_a_pace_and_ends_when_it_has_said_all_that_it_may(link, folder):
    (folder / "events.jsonl").write_text("".join(f'{{"seq": {number}}}\n' for number in range(1, 10_000)))
    source = (
        files("lorry.compute.machine.on_machine")
        .joinpath("follow.py")
        .read_text()
        .replace("MINUTE = 61", "MINUTE = 1.0")
    )
    wanted = {"folder": str(folder), "after": 0, "silence": 60, "pulse": 60, "a_minute": 100_000, "in_all": 150_000}
    program = f"import sys; exec(sys.stdin.buffer.read({len(source)}))"
    given = (source + json.dumps(wanted) + "\n").encode()
    words = [sys.executable, "-u", "-c", program]
    begin = time.monotonic()
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"HOME": str(link.home)}
    ) as process:
        process.stdin.write(given)
        process.stdin.flush()
        said = process.stdout.read()
    assert time.monotonic() - begin >= 1.0
    assert 100_000 < len(said) < 150_000
    assert said.endswith(b"}\n")


def test_heartbeat_and_checkpoints_are_told(link, folder):
    (folder / "heartbeat.json").write_text(json.dumps(BEAT, indent=2))
    for step, is_complete in ((50, True), (100, False)):
        place = folder / "checkpoints" / f"step-{step:06}"
        place.mkdir(parents=True)
        if is_complete:
            (place / "manifest.json").write_text("{}")
    found = asyncio.run(until(link, folder, Beat))
    assert found == [Checkpoints(("step-000050",)), Beat(5.0, 1, 3, "training", 9.5)]


def test_folder_below_home_is_found(link, folder):
    event = EventLog(folder / "events.jsonl").append("note", message="m")
    assert asyncio.run(until(link, Path("~/lorry/runs/run-1"), event)) == [event]
    assert asyncio.run(until(link, Path("$HOME/lorry/runs/run-1"), event)) == [event]


def agent_file(link: Here, text: str) -> None:
    (link.home / ".lorry").mkdir(exist_ok=True)
    (link.home / ".lorry" / "agent.pid").write_text(text)


def start_ticks(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def test_agent_that_died_is_told(link, folder):
    dead = subprocess.Popen(["/bin/true"])
    dead.wait()
    agent_file(link, str(dead.pid))
    assert asyncio.run(until(link, folder, AgentGone)) == [AgentGone(dead.pid)]


def test_process_that_has_the_agents_number_is_not_the_agent(link, folder):
    own = os.getpid()
    agent_file(link, f"{own} {start_ticks(own) + 7}\n")
    assert asyncio.run(until(link, folder, AgentGone)) == [AgentGone(own)]


@pytest.mark.parametrize("is_dated", [True, False])
def test_agent_that_lives_is_not_told_to_be_gone(link, folder, is_dated):
    (folder / "heartbeat.json").write_text(json.dumps(BEAT))
    own = os.getpid()
    agent_file(link, f"{own} {start_ticks(own)}" if is_dated else str(own))

    async def work() -> list:
        found = []
        async with aclosing(follow(link, str(folder), 0, patience=QUICK)) as stream:
            async for one in stream:
                found.append(one)
                if len(found) == 5:
                    break
        return found

    assert [type(one) for one in asyncio.run(work())] == [Beat] * 5


def test_agent_that_has_said_its_end_is_not_gone(link, folder):
    agent_file(link, "999999999")
    (link.home / ".lorry" / "ended").write_text("130\n")
    assert asyncio.run(until(link, folder, Ended)) == [Ended(130)]


def test_contact_is_fresh_while_somebody_follows(link, folder):
    log = EventLog(folder / "events.jsonl")
    asyncio.run(until(link, folder, log.append("note", message="m")))
    contact = link.home / ".lorry" / "contact"
    assert contact.stat().st_mode & 0o777 == 0o600
    os.utime(contact, (1, 1))
    asyncio.run(until(link, folder, log.append("note", message="m"), after=1))
    assert contact.stat().st_mtime > 1


def test_connection_that_ends_is_an_outcome(link, folder):
    async def work() -> None:
        async with aclosing(follow(link, str(folder), 0)) as stream:
            waiting = asyncio.create_task(anext(stream))
            await asyncio.sleep(0.5)
            link.channels[-1].process.kill()
            await waiting

    with pytest.raises(OutcomeError, match="the connection to the machine has ended") as caught:
        asyncio.run(work())
    assert caught.value.outcome is Outcome.SSH_DOWN


def test_machine_that_falls_silent_is_an_outcome(link, folder):
    with pytest.raises(OutcomeError, match="said nothing for 1 s") as caught:
        asyncio.run(until(link, folder, Ended, patience=Patience(silence=1.0, pulse=60)))
    assert caught.value.outcome is Outcome.SSH_DOWN


def test_missing_python_is_an_outcome(link, folder):
    with pytest.raises(OutcomeError) as caught:
        asyncio.run(until(link, folder, Ended, python="/no/python"))
    assert caught.value.outcome is Outcome.SSH_DOWN


def test_machine_that_lies_is_an_outcome_and_its_process_is_ended(link, folder):
    (folder / "events.jsonl").write_text('{"seq": 1, "at": 5, "kind": "evil"}\n')
    with pytest.raises(OutcomeError, match="the kind `evil`, which is unknown"):
        asyncio.run(until(link, folder, Ended))
    assert link.channels[-1].process.returncode is not None


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_line_without_end_is_an_outcome(link, folder, end):
    (folder / "events.jsonl").write_bytes(b'{"seq": 1, "data": "' + b"x" * (3 << 20) + end)
    with pytest.raises(OutcomeError, match="longer than a MiB"):
        asyncio.run(until(link, folder, Ended))


def test_sign_of_life_keeps_the_other_side_and_silence_ends_it(link, folder):
    (folder / "heartbeat.json").write_text(json.dumps(BEAT))

    async def work(sign: float) -> int:
        beats = 0
        async with aclosing(
            follow(link, str(folder), 0, patience=Patience(sign=sign, unheard=1.5, pulse=0.5))
        ) as stream:
            async for _ in stream:
                beats += 1
                if beats == 6:
                    return beats
        return beats

    assert asyncio.run(work(sign=0.5)) == 6
    with pytest.raises(OutcomeError, match="has ended"):
        asyncio.run(work(sign=1e9))


def test_events_of_a_real_log_survive_the_way_unchanged(link, folder):
    log = EventLog(folder / "events.jsonl")
    log.append("loaded", parameters=1, trainable=1, precision="float32", device="cpu")
    log.append("note", message="ünï→ \u2028 \ud800 end".encode("utf-8", "surrogatepass").decode("utf-8", "replace"))
    log.append("started", steps=2, from_step=0)
    last = log.append("finished", seconds=1.5)
    found = asyncio.run(until(link, folder, last))
    assert [one.seq for one in found] == [one.seq for one in read(folder / "events.jsonl")]


def test_python_of_old_follows_too(link, folder):
    versions = sorted(Path.home().glob(".pyenv/versions/3.[89].*/bin/python3"))
    if not versions:
        pytest.skip(f"there is no Python 3.8 or 3.9 beside {sys.executable}")
    event = EventLog(folder / "events.jsonl").append("note", message="m")
    assert asyncio.run(until(link, folder, event, python=str(versions[0]))) == [event]


def test_backlog_is_given_in_batches_that_keep_nobody_waiting(link: Here, folder: Path):
    log = EventLog(folder / "events.jsonl")
    for number in range(1000):
        log.append("scoring", part="eval", done=number, total=1000)

    async def sizes() -> list[int]:
        found: list[int] = []
        async with asyncio.timeout(20), aclosing(batches(link, str(folder), 0, patience=QUICK)) as stream:
            async for batch in stream:
                found.append(sum(isinstance(one, Event) for one in batch))
                if sum(found) == 1000:
                    return found
        raise AssertionError

    found = asyncio.run(sizes())
    assert max(found) == 200
    assert len(found) < 100


def test_what_came_before_something_untrusted_is_told_first(link: Here, folder: Path):
    log = EventLog(folder / "events.jsonl")
    log.append("note", message="a")
    log.append("created", recipe="x", run="y")
    seen: list[object] = []

    async def listen() -> None:
        async with asyncio.timeout(20), aclosing(follow(link, str(folder), 0, patience=QUICK)) as stream:
            async for one in stream:
                seen.append(one)

    with pytest.raises(OutcomeError, match="not its to tell"):
        asyncio.run(listen())
    assert [one.seq for one in seen if isinstance(one, Event)] == [1]
