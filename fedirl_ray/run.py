"""The command line: `fedirl [COMMAND] [FILE.yaml] [--flag value ...]`, and `python -m` of this."""

import difflib
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

import fedirl_ray
from fedirl_ray.command.stopping import say
from fedirl_ray.errors import ConfigError, FedirlError, reason
from fedirl_ray.presets import file_named, names
from fedirl_ray.signals import heed, interrupted
from fedirl_ray.streams import ready_streams

COMMANDS = {
    "federate": "run a federation, or go on with one (the command where none is named)",
    "sweep": "many runs side by side, chosen by Optuna from a study file",
    "report": "one HTML page, or one figure, about runs and studies",
    "stress": "how time and memory grow with the number of clients",
    "reproduce": "the paper's tables, figures and theorems beside the paper's numbers",
    "presets": "the settings and studies that come with the package",
}
"""Each a module in `fedirl_ray.command` with a function `command(argv) -> exit code`, imported only
when it is asked for; and what it does."""


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
        if words[:1] in (["-h"], ["--help"]):
            print(_first_screen(), end="")
            return 0
        if words == ["--version"]:
            print(f"fedirl_ray {fedirl_ray.__version__}")
            return 0
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


def _first_screen() -> str:
    from fedirl_ray.cli import PROG, manual

    commands = [f"  {name:11}{does}" for name, does in COMMANDS.items()]
    examples = manual(
        "To begin with:",
        ("", "3 clients on the 5x5 grid-world, 20 seeds"),
        ("pendulum", "continuous control, by a preset"),
        ("mine.yaml --fusion.epsilon 0.1", "defaults, then the file, then the flags"),
        ("sweep regularisation --trials 10", "a study that comes with the package"),
        ("report runs/DIR", "a page about what was run"),
    )
    return "\n".join(
        [
            f"usage: {PROG} [COMMAND] [FILE.yaml or PRESET] [--setting VALUE ...]",
            "",
            "Federated inverse reinforcement learning: each client learns a reward from its own",
            "expert's demonstrations, a server fuses the rewards, and every fusion rule is judged",
            "by the policies that its reward leads to, in the clients' worlds and in unseen ones.",
            "",
            f"Commands ({PROG} COMMAND --help says all settings of one):",
            *commands,
            "",
            examples,
            "--version says which this is.\n",
        ]
    )


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
