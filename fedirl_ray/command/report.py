"""`report`: one self-contained HTML page about runs and studies."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from fedirl_ray.atomic import write_atomically
from fedirl_ray.cli import PROG, load, manual
from fedirl_ray.errors import ConfigError
from fedirl_ray.laws import require
from fedirl_ray.report.heterogeneity import draw_maps, map_markdown, map_text
from fedirl_ray.report.measure import measure_of
from fedirl_ray.report.page import write_page
from fedirl_ray.study.archive import STUDY, read_study
from fedirl_ray.study.heterogeneity import heterogeneity_map, metric_of

PAGE = "report.html"
MANUAL = manual(
    """\
One HTML page about runs and studies: settings, table, seeds, reward maps, convergence, costs. It
loads nothing from the network and can be sent as it is. Or one figure of them alone.
""",
    ("report runs/DIR", "writes runs/DIR/report.html"),
    ("report DIR DIR --output page.html", "several folders, one page"),
    ("report runs/DIR --output maps.pdf", "the run's figure alone: .svg, .pdf or .png"),
    ("report STUDY STUDY --output map.svg", "the maps of two studies in one figure"),
    ("report STUDY --map map.png", "page and map: map.png, and its text and table in map.md"),
)


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """Where the page goes."""

    output: Path | None = None
    """File to write; None: report.html in the folder, or in the current one for several."""
    map: Path | None = None
    """Also write the heterogeneity map to this .png, of several studies over each other, and its
    text and table to a .md beside it."""


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
    files = {output: write_page(folders).encode()}
    if invocation.map is not None:
        files |= _map_files(invocation.map, folders)
    for path, data in files.items():
        _write(path, data)
    print(f"Page: {output}")
    return 0


def _map_files(path: Path, folders: Sequence[Path]) -> dict[Path, bytes]:
    """The maps of some studies, as one picture and as a text."""
    require(path.suffix == ".png", "map", "a .png file", path)
    maps, text, metrics = {}, "", set[str]()
    for folder in folders:
        require((folder / STUDY).is_file(), "map", "asked for with studies only", folder)
        archive = read_study(folder)
        points = heterogeneity_map(archive.tried(), archive.results)
        require(bool(points), "map", "asked of a study in which some setting varied", folder)
        name = folder.resolve().name
        require(name not in maps, "map", "asked for with studies of different names", name)
        maps[name] = points
        metrics.add(metric_of(archive.results["metric"]))
        require(len(metrics) == 1, "map", "asked for with studies of one metric", sorted(metrics))
        measure = measure_of(*metrics)
        text += f"## {name}\n\n" if len(folders) > 1 else ""
        text += "".join(f"- {sentence}\n" for sentence in map_text(points))
        text += f"\n{map_markdown(points, measure)}\n"
    return {path: draw_maps(maps, measure), path.with_suffix(".md"): f"{text.rstrip()}\n".encode()}


def _write(path: Path, data: bytes) -> None:
    try:
        write_atomically(path, data)
    except OSError as err:
        raise ConfigError(
            f"output must be a file that can be written, got {path}: {err.strerror}"
        ) from None
