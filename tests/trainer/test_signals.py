from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from lorry.trainer.signals import Watch

BEGINNING = """
import contextlib, ctypes, hashlib, os, signal, sys, threading, time
import lorry.trainer.signals
from lorry.trainer.signals import Watch

def compute():  # one call in C of some ten seconds, which lets other threads run
    print("computing", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 20_000_000)
    print("computed", flush=True)

def act(number):
    print("acting on", number.name, "in", threading.current_thread().name, flush=True)

watch = Watch()
"""
LEAVING = """
with watch.kept(), watch.leaving(act):
    compute()
"""
HANGING = """
def act(number):
    print("acting", flush=True)
    time.sleep(60)

with watch.kept(), watch.leaving(act):
    compute()
"""
RAISING = """
def act(number):
    raise ValueError("nothing can be saved")

with watch.kept(), watch.leaving(act):
    compute()
"""
OUTSIDE = """
with watch.kept():
    with watch.leaving(act):
        pass
    try:
        print("computing", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("interrupted by", watch.number.name, flush=True)
        time.sleep(1.5)  # a second KeyboardInterrupt would come here
        sys.exit(7)
"""
DECIDING_LATE = """
with watch.kept():
    try:
        print("computing", flush=True)
        with watch._deciding:  # as where a call in C lets no other thread run
            time.sleep(1)
        time.sleep(60)
    except KeyboardInterrupt:
        print("interrupted by", watch.number.name, flush=True)
        time.sleep(0.2)
        sys.exit(7)
"""
SWALLOWING = """
class Finalised:
    def __del__(self):
        time.sleep(60)

callback = ctypes.CFUNCTYPE(None)(lambda: time.sleep(60))

def bare():
    try:
        time.sleep(60)
    except:
        pass

def falling_back():
    try:
        time.sleep(60)
    except BaseException:
        time.sleep(60)

lorry.trainer.signals._CLEANING = 1.5
with watch.kept():
    try:
        print("computing", flush=True)
        swallow()
        print("went on", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        sys.exit(7)
"""
CLEANING = """
class Folder:
    def __enter__(self):
        pass

    def __exit__(self, *error):
        clean("__exit__")

def clean(where):
    try:
        raise FileNotFoundError
    except OSError:
        time.sleep(0.7)
    time.sleep(0.7)
    print("cleaned in", where, flush=True)

@contextlib.contextmanager
def kept_clean():
    try:
        yield
    finally:
        clean("finally")

with watch.kept():
    try:
        with Folder(), kept_clean():
            print("computing", flush=True)
            time.sleep(60)
    except KeyboardInterrupt:
        clean("except")
        sys.exit(7)
"""
MATMUL = """
import torch
torch.set_num_threads(1)
matrix = torch.randn(7000, 7000)
with watch.kept(), watch.leaving(act):
    print("computing", flush=True)
    matrix @ matrix
    print("computed", flush=True)
"""


@contextmanager
def running(script: str):
    """A process that runs the script and has begun to compute."""
    command = [sys.executable, "-c", BEGINNING + script]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "computing\n"
        time.sleep(0.2)  # now it is within the one long call
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str], float]:
    """The exit code, the lines that were printed meanwhile, and the seconds that it took."""
    began = time.monotonic()
    told, _ = process.communicate(timeout=30)
    return process.returncode, told.splitlines(), time.monotonic() - began


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_within_a_long_call_is_acted_on_at_once(number):
    with running(LEAVING) as process:
        process.send_signal(number)
        code, told, seconds = ended(process)
    assert (code, told) == (130, [f"acting on {number.name} in leaving"])
    assert seconds < 0.5


def test_signal_within_a_matrix_product_of_torch_is_acted_on_at_once():
    with running(MATMUL) as process:
        process.send_signal(signal.SIGTERM)
        code, told, seconds = ended(process)
    assert (code, told) == (130, ["acting on SIGTERM in leaving"])
    assert seconds < 0.5


def test_two_signals_in_short_order_count_as_one():
    with running(HANGING.replace("60", "0.7")) as process:
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        code, told, seconds = ended(process)
    assert (code, told) == (130, ["acting"])
    assert seconds > 0.3


def test_second_signal_ends_a_process_that_hangs_while_it_acts():
    with running(HANGING) as process:
        process.send_signal(signal.SIGTERM)
        time.sleep(0.7)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        code, told, seconds = ended(process)
    assert (code, told) == (130, ["acting"])
    assert seconds < 0.5


def test_action_that_fails_says_why_and_ends_the_process_all_the_same():
    with running(RAISING) as process:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.endswith("ValueError: nothing can be saved\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_elsewhere_interrupts_the_main_thread_once(number):
    with running(OUTSIDE) as process:
        process.send_signal(number)
        code, told, seconds = ended(process)
    assert (code, told) == (7, [f"interrupted by {number.name}"])
    assert seconds < 2.5


@pytest.mark.parametrize("swallow", ["Finalised", "callback", "bare"])
def test_interrupt_that_is_swallowed_comes_again(swallow):
    with running(SWALLOWING.replace("swallow()", f"{swallow}()")) as process:
        process.send_signal(signal.SIGTERM)
        code, told, seconds = ended(process)
    assert (code, told) == (7, ["went on"])
    assert seconds < 3


def test_work_that_goes_on_where_an_interrupt_was_caught_is_interrupted_in_the_end():
    with running(SWALLOWING.replace("swallow()", "falling_back()")) as process:
        process.send_signal(signal.SIGTERM)
        code, told, seconds = ended(process)
    assert (code, told) == (7, [])
    assert 1 < seconds < 4


def test_cleaning_up_after_an_interrupt_is_not_interrupted():
    with running(CLEANING) as process:
        process.send_signal(signal.SIGTERM)
        code, told, _ = ended(process)
    assert (code, told) == (7, ["cleaned in finally", "cleaned in __exit__", "cleaned in except"])


def test_signal_that_is_decided_on_late_is_not_taken_for_two():
    with running(DECIDING_LATE) as process:
        process.send_signal(signal.SIGTERM)
        code, told, _ = ended(process)
    assert (code, told) == (7, ["interrupted by SIGTERM"])


def test_handlers_and_threads_are_put_back():
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
    before = [signal.getsignal(number) for number in numbers]
    threads = threading.active_count()
    with Watch().kept():
        assert signal.getsignal(signal.SIGTERM) not in before
        assert threading.active_count() == threads + 1
    assert [signal.getsignal(number) for number in numbers] == before
    assert threading.active_count() == threads
    assert signal.set_wakeup_fd(-1) == -1


def test_handlers_are_put_back_where_the_work_fails():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match="broken"), Watch().kept():
        raise ValueError("broken")
    assert signal.getsignal(signal.SIGTERM) is before


def test_other_signals_are_passed_over():
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _frame: heard.append(number))
    watch = Watch()
    try:
        with watch.kept():
            os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert (heard, watch.number) == ([signal.SIGUSR1], None)


def test_signal_that_comes_as_the_work_ends_is_noticed_and_changes_nothing():
    watch = Watch()
    with watch.kept(), watch._deciding:  # the work ends before it is decided on
        os.kill(os.getpid(), signal.SIGTERM)
        while watch.number is None:
            time.sleep(0.01)
        watch._is_kept = False
    time.sleep(0.2)
    assert watch.number is signal.SIGTERM


def test_watch_can_be_kept_again_after_quiet_work():
    watch = Watch()
    for _ in range(3):
        with watch.kept(), watch.leaving(lambda _number: None):
            pass
    assert watch.number is None


def test_signal_is_heard_while_the_main_thread_waits_in_a_long_call():
    script = """
from lorry.trainer.signals import heard
with heard(lambda number: (print("heard", number.name, flush=True), os._exit(3))):
    compute()
"""
    with running(script) as process:
        process.send_signal(signal.SIGTERM)
        code, lines, seconds = ended(process)
    assert (code, lines) == (3, ["heard SIGTERM"])
    assert seconds < 3


def test_under_an_agent_a_late_copy_of_the_signal_ends_nothing():
    script = """
watch = Watch(only_first=True)
def act(number):
    time.sleep(2)
    print("acted", flush=True)

with watch.kept(), watch.leaving(act):
    compute()
"""
    with running(script) as process:
        process.send_signal(signal.SIGTERM)
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        code, lines, _ = ended(process)
    assert (code, lines) == (130, ["acted"])
