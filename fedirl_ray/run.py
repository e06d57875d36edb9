"""The command line: `python -m fedirl_ray.run [COMMAND] [FILE.yaml] [--flag value ...]`."""

import difflib
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from fedirl_ray.command.stopping import say
from fedirl_ray.errors import ConfigError, FedirlError, reason
from fedirl_ray.presets import file_named, names
from fedirl_ray.signals import heed, interrupted
from fedirl_ray.streams import ready_streams

COMMANDS = ("federate", "report", "reproduce", "stress", "sweep")
"""Each a module in `fedirl_ray.command` with a function `command(argv) -> exit code`, imported only
when it is asked for."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: Arguments; default: the process's own, which ends with the command.

    Returns:
        Exit code: 0 done, 1 the machine failed (e.g. disk full, Ray died) or too few uploads came,
        2 bad input, 130 interrupted, 143 terminated (SIGTERM), 129 its terminal has gone (SIGHUP).
    """
    ready_streams()
    with heed(last=argv is None):
        try:
            return _run(list(sys.argv[1:] if argv is None else argv))
        except KeyboardInterrupt:
            word, code = interrupted()
            say(f"{word} before anything was begun")
            return code


def _run(words: list[str]) -> int:
    try:
        command = _command(words)
        # Not above: what is imported before signals are heeded must be light.
        from threadpoolctl import threadpool_limits

        threadpool_limits(limits=1)  # see engine.jobs; after NumPy, which it would else not reach
        return command(words)
    except FedirlError as err:
        say(str(err))
        return 2
    except BrokenPipeError:
        # Whoever read the output has left (`... | head`); nobody is there to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (MemoryError, OSError) as err:
        say(reason(err))
        return 1


def _command(words: list[str]) -> Callable[[Sequence[str]], int]:
    """Take the command's name off the arguments; without one, federate."""
    name = "federate"
    if words and not words[0].startswith("-"):
        if words[0] in COMMANDS:
            name = words.pop(0)
        elif not file_named(words[0]).is_file():
            _require_file(words[0])
    found: Callable[[Sequence[str]], int] = import_module(f"fedirl_ray.command.{name}").command
    return found


def _require_file(word: str) -> None:
    """Refuse a first word that is no command, file or preset; a file's own reader says the rest."""
    file = word.endswith((".yaml", ".yml"))
    known = names() if file else [*COMMANDS, *names()]
    near = difflib.get_close_matches(Path(word).stem, known, n=1)
    if near or not file:
        hint = f"commands: {', '.join(COMMANDS)}; presets: {', '.join(names())}"
        hint = f"did you mean {near[0]}?" if near else hint
        raise ConfigError(f"no command, settings file or preset is called {word}; {hint}")


if __name__ == "__main__":
    sys.exit(main())
