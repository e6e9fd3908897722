from __future__ import annotations

import signal

import pytest

from lorry.trainer.supervise.restart import Action, Cause, Ending, cause_of, decide, last_words

KILL, TERM, SEGV = -signal.SIGKILL, -signal.SIGTERM, -signal.SIGSEGV


def ending(code: int = 1, step: int = 5, **facts) -> Ending:
    return Ending(code, step, **facts)


def crash(exception: str = "RuntimeError", error: str = "it broke", step: int = 5) -> Ending:
    return ending(1, step, error=f"{exception}: {error}", exception=exception)


@pytest.mark.parametrize(
    ("found", "cause", "action"),
    [
        (ending(0), Cause.DONE, Action.END),
        (ending(0, stalled=True, out_of_memory=True, error="said"), Cause.DONE, Action.END),
        (ending(KILL), Cause.KILLED, Action.RESTART),
        (ending(KILL, out_of_memory=True), Cause.MEMORY, Action.LOWER),
        (ending(KILL, stalled=True), Cause.STALLED, Action.RESTART),
        (ending(KILL, stalled=True, out_of_memory=True), Cause.STALLED, Action.RESTART),
        (ending(130), Cause.STOPPED, Action.END),
        (ending(TERM), Cause.STOPPED, Action.END),
        (ending(-signal.SIGINT), Cause.STOPPED, Action.END),
        (ending(-signal.SIGHUP), Cause.STOPPED, Action.END),
        (ending(SEGV), Cause.CRASHED, Action.RESTART),
        (ending(-signal.SIGABRT), Cause.CRASHED, Action.RESTART),
        (ending(-signal.SIGBUS), Cause.CRASHED, Action.RESTART),
        (ending(-signal.SIGILL), Cause.CRASHED, Action.RESTART),
        (ending(SEGV, out_of_memory=True), Cause.CRASHED, Action.RESTART),
        (ending(1, error="the loss is not a number"), Cause.REFUSED, Action.END),
        (ending(2, error="rank 4 is not rank 2"), Cause.REFUSED, Action.END),
        (ending(3, error="refused"), Cause.REFUSED, Action.END),
        (ending(1, error="out of memory while training, even with micro-batches of 1"), Cause.REFUSED, Action.END),
        (ending(KILL, error="refused, and killed while it ended"), Cause.REFUSED, Action.END),
        (ending(KILL, error="KeyError: 'x'", exception="KeyError", stalled=True), Cause.FAULT, Action.END),
        (crash("AttributeError"), Cause.FAULT, Action.END),
        (crash("ImportError"), Cause.FAULT, Action.END),
        (crash("KeyError"), Cause.FAULT, Action.END),
        (crash("TypeError", "CUDA error"), Cause.FAULT, Action.END),
        (
            crash("AcceleratorError", "CUDA error: an illegal memory access was encountered"),
            Cause.DEVICE,
            Action.RESTART,
        ),
        (crash("RuntimeError", "CUDA error: uncorrectable ECC error encountered"), Cause.DEVICE, Action.RESTART),
        (crash("RuntimeError", "NCCL communicator was aborted"), Cause.DEVICE, Action.RESTART),
        (crash("DistBackendError", "NCCL error in: ProcessGroupNCCL.cpp"), Cause.DEVICE, Action.RESTART),
        (crash("RuntimeError", "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), Cause.DEVICE, Action.RESTART),
        (crash("RuntimeError", "mat1 and mat2 shapes cannot be multiplied"), Cause.UNKNOWN, Action.RESTART),
        (crash("OSError", "[Errno 5] Input/output error"), Cause.UNKNOWN, Action.RESTART),
        (crash("MemoryError", ""), Cause.UNKNOWN, Action.RESTART),
        (ending(1), Cause.UNKNOWN, Action.RESTART),
        (ending(-signal.SIGUSR1), Cause.UNKNOWN, Action.RESTART),
        (ending(-64), Cause.UNKNOWN, Action.RESTART),
        (ending(255), Cause.UNKNOWN, Action.RESTART),
    ],
)
def test_first_ending_has_its_cause_and_action(found, cause, action):
    assert (cause_of(found), decide(found, [])) == (cause, action)


RESTARTED = [ending(SEGV), crash(), crash(error="CUDA error: unknown"), ending(KILL, stalled=True), ending(1)]


@pytest.mark.parametrize("found", RESTARTED)
def test_same_end_at_the_same_step_ends_the_run(found):
    assert decide(found, []) is Action.RESTART
    assert decide(found, [found]) is Action.END


def test_progress_gives_a_new_try():
    assert decide(ending(SEGV, 6), [ending(SEGV, 5)]) is Action.RESTART
    assert decide(ending(SEGV, 6), [ending(SEGV, 5), ending(SEGV, 6)]) is Action.END


def test_run_that_gets_further_each_time_is_never_given_up():
    endings: list[Ending] = []
    for step in range(0, 1000, 2):
        assert decide(ending(SEGV, step), endings) is Action.RESTART
        endings.append(ending(SEGV, step))


def test_process_killed_from_outside_is_started_again_more_often():
    assert decide(ending(KILL), [ending(KILL)] * 4) is Action.RESTART
    assert decide(ending(KILL), [ending(KILL)] * 5) is Action.END


def test_memory_is_lowered_as_long_as_there_are_rungs():
    starved = ending(KILL, out_of_memory=True)
    assert decide(starved, [starved] * 50) is Action.LOWER
    assert decide(ending(SEGV), [starved] * 50) is Action.RESTART


def test_causes_that_take_turns_at_one_step_end_the_run():
    turns = RESTARTED * 20
    actions = [decide(found, turns[:number]) for number, found in enumerate(turns)]
    assert actions.index(Action.END) == 4  # of two of these the cause is the same


def test_run_that_never_gets_further_than_before_is_given_up():
    endings = [ending(SEGV, step) for step in range(50, 0, -1)]
    actions = [decide(found, endings[:number]) for number, found in enumerate(endings)]
    assert actions.index(Action.END) == 10


def test_a_few_crashes_short_of_the_furthest_step_are_forgiven():
    endings = [ending(SEGV, 50), ending(SEGV, 41), ending(KILL, 44)]
    assert decide(ending(SEGV, 47), endings) is Action.RESTART


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (ending(1, error="the loss is not a number"), "the loss is not a number"),
        (ending(KILL, error="said before"), "said before"),
        (ending(KILL, out_of_memory=True), "the system killed the trainer because memory ran out"),
        (ending(KILL), "the process that trained was killed"),
        (ending(KILL, stalled=True), "the trainer stood still and was ended"),
        (ending(SEGV), "the trainer was ended by SIGSEGV"),
        (ending(-64), "the trainer was ended by SIGRTMAX"),
        (ending(-99), "the trainer was ended by signal 99"),
        (ending(3), "the trainer ended with exit code 3 and without a word"),
    ],
)
def test_what_happened_is_told(found, words):
    assert last_words(found) == words
