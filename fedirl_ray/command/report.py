"""`report`: one self-contained HTML page about runs and studies."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from fedirl_ray.cli import PROG, load
from fedirl_ray.engine.checkpoint import write_atomically
from fedirl_ray.errors import ConfigError
from fedirl_ray.report.page import write_page

PAGE = "report.html"
MANUAL = """\
One HTML page about runs and studies: settings, table, seeds, reward maps, convergence, costs. It
loads nothing from the network and can be sent as it is.

  python -m fedirl_ray.run report runs/DIR                     writes runs/DIR/report.html
  python -m fedirl_ray.run report DIR DIR --output page.html    several folders, one page
"""


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """Where the page goes."""

    output: Path | None = None
    """File to write; None: report.html in the folder, or in the current one for several."""


def command(argv: Sequence[str]) -> int:
    """Write the page and say where it is."""
    named = list(takewhile(lambda word: not word.startswith("-"), argv))
    invocation = load(
        Invocation, argv[len(named) :], prog=f"{PROG} report RUN|STUDY [...]", description=MANUAL
    )
    if not named:
        raise ConfigError(f"report must be given folders of runs or studies, got none; {PROG} "
                          f"report --help shows how")  # fmt: skip
    folders = [Path(word) for word in named]
    output = invocation.output or (folders[0] / PAGE if len(folders) == 1 else Path(PAGE))
    page = write_page(folders)
    try:
        write_atomically(output, page.encode())
    except OSError as err:
        raise ConfigError(
            f"output must be a file that can be written, got {output}: {err.strerror}"
        ) from None
    print(f"Page: {output}")
    return 0
