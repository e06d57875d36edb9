"""Signals that ask a command to stop: Ctrl-C (SIGINT), SIGTERM, SIGHUP.

The first becomes a KeyboardInterrupt in the main thread; further ones change nothing, for the end
is under way. Where an interrupt would do harm, `quiet` puts it off. None is lost: what swallows it
(an import, a destructor, a hook of a fork) is waited out, and a process that has still not ended
`ENDING` seconds after the signal is ended from a thread.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

STOPS = {
    signal.SIGINT: ("Interrupted", 130),
    signal.SIGTERM: ("Terminated", 143),
    signal.SIGHUP: ("Hung up", 129),
}
"""What is said, and the exit code: 128 and the signal's number, as shells have it."""
ENDING = 45.0  # seconds from the signal that an orderly end may take
AGAIN = 0.05  # seconds until an interrupt that could not be raised is tried again

_INTERRUPTED = STOPS[signal.SIGINT]


class _Watch:
    """What one command has been told, and by whom its end is watched."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.thrown = self.closed = False
        self.advice: Callable[[], str] = lambda: "it did not end by itself"
        self.over = threading.Event()
        self.hook = sys.unraisablehook
        self.alarm: Any = None
        """What SIGALRM led to before, once an interrupt was put off; None: it never was."""
        self.heard, self.told = os.pipe()
        os.set_blocking(self.told, False)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Note a signal, and interrupt the main thread."""
        self.first = self.first or number
        self.throw(number, frame)

    def throw(self, number: int, frame: FrameType | None) -> None:
        """Interrupt the main thread, once, when that can be done."""
        if self.thrown or self.closed or self.first is None:
            return
        if _quiet or _importing(frame):
            self.put_off()
            return
        self.thrown = True
        raise KeyboardInterrupt

    def put_off(self) -> None:
        """Try again soon."""
        before = signal.signal(signal.SIGALRM, self.throw)
        if before != self.throw:
            self.alarm = before
        signal.setitimer(signal.ITIMER_REAL, AGAIN)

    def unraisable(self, ignored: Any) -> None:
        """Raise again what was swallowed where nothing can be raised."""
        if self.thrown and isinstance(ignored.exc_value, KeyboardInterrupt):
            self.thrown = False
            self.put_off()
        elif not isinstance(ignored.exc_value, KeyboardInterrupt):
            self.hook(ignored)

    def bound(self) -> None:
        """End the process, once a signal has come and the time for an orderly end is up."""
        while (data := os.read(self.heard, 1)) and data[0] not in STOPS:
            pass  # another signal
        if data and not self.over.wait(ENDING):
            word, code = STOPS[signal.Signals(data[0])]
            with suppress(OSError):
                os.write(2, f"{word}; {self.advice()}\n".encode())
            os._exit(code)
        self.over.wait()
        os.close(self.heard)


_watch: _Watch | None = None
_quiet = False


@contextmanager
def heed(*, last: bool) -> Iterator[None]:
    """Have signals interrupt what is done inside, in the main thread.

    A signal that the process was started to ignore (`nohup`) is ignored.

    Args:
        last: Whether the process ends afterwards: nothing interrupts that.
    """
    global _watch
    if _watch is not None or threading.current_thread() is not threading.main_thread():
        yield  # within another command, which heeds them; or where Python does not deliver any
        return
    _watch = watch = _Watch()
    sys.unraisablehook = watch.unraisable
    awake = signal.set_wakeup_fd(watch.told, warn_on_full_buffer=False)
    threading.Thread(target=watch.bound, daemon=True).start()
    before = {number: signal.signal(number, watch.handle) for number in _heeded()}
    try:
        yield
    finally:
        watch.closed = True
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if last else handler)
        if watch.alarm is not None:  # else the timer is somebody else's
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, watch.alarm)
        watch.over.set()
        signal.set_wakeup_fd(awake)
        os.close(watch.told)
        sys.unraisablehook = watch.hook
        _watch = None


def _heeded() -> list[signal.Signals]:
    """Those that are not ignored, nor handled by something other than Python."""
    return [one for one in STOPS if signal.getsignal(one) not in (signal.SIG_IGN, None)]


def _importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported: extension modules swallow what is raised meanwhile."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def advise(advice: Callable[[], str]) -> None:
    """Say what is said of how to go on, should the process have to be ended from a thread."""
    if _watch is not None:
        _watch.advice = advice


def over() -> None:
    """Let nothing interrupt what is left: the work is done, or is being given up."""
    if _watch is not None:
        _watch.closed = True


def stopped() -> tuple[str, int] | None:
    """What the first signal was, in a word, and its exit code; None: none has come."""
    if _watch is None or _watch.first is None:
        return None
    return STOPS[signal.Signals(_watch.first)]


def interrupted() -> tuple[str, int]:
    """The same, once there has been a KeyboardInterrupt."""
    return stopped() or _INTERRUPTED


@contextmanager
def quiet() -> Iterator[None]:
    """Put signals off until what is done inside is done, in the main thread.

    Ray's start and end are to be done so: interrupted, they hang, crash, or swallow the interrupt.
    """
    global _quiet
    if _quiet or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    real = signal.signal
    before = {one: real(one, lambda number, frame: came.append(number)) for one in _heeded()}

    def kept(number: int, handler: Any) -> Any:
        return signal.getsignal(number) if number in before else real(number, handler)

    # Ray would put in place, for SIGTERM, a handler that raises in the midst of its own start.
    setattr(signal, "signal", kept)  # noqa: B010 (mypy: a function is assigned to)
    _quiet = True
    try:
        yield
    finally:
        _quiet = False
        setattr(signal, "signal", real)  # noqa: B010
        for one, handler in before.items():
            real(one, handler)
        if came:
            signal.raise_signal(came[0])
