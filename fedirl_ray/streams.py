"""Standard streams that can be written to, whatever a command was started with."""

import contextlib
import io
import os
import sys


def ready_streams() -> None:
    """Have all three standard streams be there, and standard output take any text.

    One that is closed (`>&-`, some schedulers) leads nowhere from now on; else the next file that
    is opened would get its number, and what is printed. A character that the encoding does not have
    (LC_ALL=C: no ±) becomes a question mark, as standard error escapes it by itself.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is not None:
            continue
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, number)  # inherited, as a standard stream is
        if nowhere != number:
            os.close(nowhere)
        else:
            os.set_inheritable(number, True)
        setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        with contextlib.suppress(ValueError):  # closed within Python
            sys.stdout.reconfigure(errors="replace")
