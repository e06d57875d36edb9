"""Signals are noted at once, acted upon where that is safe, and never lost."""

import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from fedirl_ray import signals
from fedirl_ray.command.stopping import stoppable
from fedirl_ray.errors import RunError

ROOT = Path(__file__).parents[1]
NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
TOLD = {
    signal.SIGINT: ("Interrupted", 130),
    signal.SIGTERM: ("Terminated", 143),
    signal.SIGHUP: ("Hung up", 129),
}


@pytest.fixture
def heeded():
    with signals.heed(last=False):
        yield


def wait():
    """Give an interrupt that was put off the time to come."""
    deadline = time.monotonic() + 30.0
    while time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.parametrize("number", NUMBERS)
def test_each_signal_is_named_and_has_the_shells_exit_code(heeded, capsys, number):
    def work():
        signal.raise_signal(number)
        return 0

    word, code = TOLD[number]
    assert stoppable(work, lambda: "go on so") == code == 128 + number
    assert capsys.readouterr().err == f"{word}; go on so\n"


def test_the_second_signal_changes_nothing(heeded, capsys):
    def work():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            for number in NUMBERS:
                signal.raise_signal(number)
        return 0

    def advice():
        signal.raise_signal(signal.SIGINT)
        return "go on so"

    assert stoppable(work, advice) == 143
    assert capsys.readouterr().err == "Terminated; go on so\n"


def test_what_fails_because_others_were_stopped_first_counts_as_the_signals_doing(heeded, capsys):
    def work():
        try:
            signal.raise_signal(signal.SIGHUP)
        except KeyboardInterrupt:
            raise RunError("no answer from anybody") from None

    assert stoppable(work, lambda: "go on so") == 129
    assert capsys.readouterr().err == "Hung up; go on so\n"


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (MemoryError(), "out of memory"),
        (MemoryError("a barycenter needs 9 GiB"), "a barycenter needs 9 GiB"),
        (OSError(28, "No space left on device", "x"), "No space left on device: x"),
        (RunError("too few uploads"), "too few uploads"),
    ],
)
def test_what_stops_work_is_one_line_and_how_to_go_on(capsys, raised, told):
    def work():
        raise raised

    assert stoppable(work, lambda: "go on so") == 1
    assert capsys.readouterr().err == f"{told}; go on so\n"


def test_a_signal_in_a_destructor_is_not_lost(heeded, capsys):
    class Closing:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def close(things):
        things.clear()
        wait()

    with pytest.raises(KeyboardInterrupt):
        close([Closing()])
    assert capsys.readouterr().err == ""


def test_a_signal_during_an_import_waits_for_its_end(heeded, tmp_path, monkeypatch):
    # As extension modules do, this one swallows whatever is raised while it is imported.
    (tmp_path / "swallowing.py").write_text(
        "import signal\n"
        "try:\n    signal.raise_signal(signal.SIGINT)\nexcept BaseException:\n    lost = True\n"
        "done = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def begin():
        import_module("swallowing")
        wait()

    with pytest.raises(KeyboardInterrupt):
        begin()
    module = sys.modules.pop("swallowing")
    assert module.done
    assert not hasattr(module, "lost")


@pytest.mark.parametrize("number", NUMBERS)
def test_quiet_puts_a_signal_off_to_its_end(heeded, number):
    reached = []

    def work():
        with signals.quiet():
            with signals.quiet():
                signal.raise_signal(number)
                reached.append("inner")
            reached.append("outer")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == ["inner", "outer"]
    assert signals.stopped() == TOLD[number]


def test_what_an_import_put_off_waits_for_the_end_of_quiet_too(heeded, tmp_path, monkeypatch):
    (tmp_path / "signalling.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    monkeypatch.syspath_prepend(tmp_path)
    reached = []

    def begin():
        import_module("signalling")
        with signals.quiet():
            time.sleep(4 * signals.AGAIN)
            reached.append("the end")
        wait()

    with pytest.raises(KeyboardInterrupt):
        begin()
    del sys.modules["signalling"]
    assert reached == ["the end"]


def test_no_library_replaces_a_handler_within_quiet():
    before = signal.getsignal(signal.SIGTERM)
    with signals.quiet():
        within = signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))  # as Ray's start does
        assert signal.getsignal(signal.SIGTERM) is within
    assert signal.getsignal(signal.SIGTERM) is before
    assert signal.signal.__name__ == "signal"


def test_handlers_and_hooks_are_put_back():
    def all_of_them():
        return [*map(signal.getsignal, NUMBERS), sys.unraisablehook]

    before = all_of_them()
    with signals.heed(last=False):
        assert all_of_them() != before
    assert all_of_them() == before


def test_a_timer_of_the_programs_own_runs_on():
    signal.setitimer(signal.ITIMER_REAL, 3600.0)
    try:
        with signals.heed(last=False):
            pass
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0.0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)


def test_sigalrm_is_put_back_where_an_interrupt_was_put_off(tmp_path, monkeypatch):
    (tmp_path / "alarming.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = signal.getsignal(signal.SIGALRM)

    def begin():
        with signals.heed(last=False):
            import_module("alarming")
            assert signal.getsignal(signal.SIGALRM) != before
            wait()

    with pytest.raises(KeyboardInterrupt):
        begin()
    del sys.modules["alarming"]
    assert signal.getsignal(signal.SIGALRM) == before


def test_a_signal_that_was_ignored_at_the_start_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with signals.heed(last=False), signals.quiet():
            signal.raise_signal(signal.SIGHUP)
            assert signals.stopped() is None
    finally:
        signal.signal(signal.SIGHUP, before)


def started(code):
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "begun\n"
    return process


SWALLOWING = """
import signal, time
from fedirl_ray import signals
from fedirl_ray.command.stopping import stoppable
signals.ENDING = 0.5
def work():
    while True:
        try:
            print("begun", flush=True)
            time.sleep(60.0)
        except KeyboardInterrupt:
            pass
with signals.heed(last=True):
    stoppable(work, lambda: "go on so")
"""


def test_an_end_that_never_comes_is_brought_about():
    process = started(SWALLOWING)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (143, "Terminated; go on so\n")


ENDING = """
import atexit, signal, sys, time
from fedirl_ray import signals
def late():
    print("begun", flush=True)
    time.sleep(1.0)
atexit.register(late)
with signals.heed(last=True):
    code = 0
sys.exit(code)
"""


@pytest.mark.parametrize("number", NUMBERS)
def test_a_process_that_is_done_ends_undisturbed(number):
    process = started(ENDING)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")


GONE_TERMINAL = """
import os, signal, sys
from fedirl_ray import signals
from fedirl_ray.command.stopping import stoppable
print("begun", flush=True)
sys.stdin.readline()
def work():
    signal.raise_signal(signal.SIGHUP)
with signals.heed(last=True):
    code = stoppable(work, lambda: "go on so")
sys.exit(code)
"""


def test_a_last_line_that_nobody_can_read_does_not_change_the_exit_code():
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", GONE_TERMINAL],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=writing,
    )
    os.close(writing)
    os.close(reading)
    process.communicate(b"\n", timeout=60)
    assert process.returncode == 129
