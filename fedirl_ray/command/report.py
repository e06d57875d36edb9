"""`report`: one self-contained HTML page about runs and studies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from fedirl_ray.atomic import write_atomically
from fedirl_ray.cli import PROG, load, manual
from fedirl_ray.domain.domain import SPLITS
from fedirl_ray.errors import ConfigError
from fedirl_ray.laws import require
from fedirl_ray.report.heterogeneity import Maps, map_markdown, map_text, rules_of
from fedirl_ray.report.levels import draw_levels, units_of
from fedirl_ray.report.map_picture import draw_map
from fedirl_ray.report.measure import measure_of
from fedirl_ray.report.page import write_page
from fedirl_ray.study.archive import STUDY, Archive, read_study
from fedirl_ray.study.heterogeneity import Point, heterogeneity_map, mapped_metrics

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
    (
        "report STUDY STUDY --map map.png",
        "page and map: map.png, and its text and tables in map.md",
    ),
    ("report STUDY --curves curves.png", "page, and every rule by the level of each dial"),
)


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """Where the page goes."""

    output: Path | None = None
    """File to write; None: report.html in the folder, or in the current one for several."""
    map: Path | None = None
    """Also write the heterogeneity map to this .png, of several studies side by side, and its text
    and tables to a .md beside it. It is of value where all studies ran true and plus-one, the
    columns that are its 100 and its 0, else of what their tables are of."""
    curves: Path | None = None
    """Also write to this .png what every rule of a study comes to by the level of each dial, in
    held-out worlds and in the clients' own."""

    def __post_init__(self) -> None:
        """Check every limit."""
        for name in ("map", "curves"):
            path = getattr(self, name)
            require(path is None or path.suffix == ".png", name, "a .png file", path)


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
        files |= _map_files(invocation.map, _studies("map", folders))
    if invocation.curves is not None:
        require(len(folders) == 1, "curves", "asked for with one study", len(folders))
        (archive,) = _studies("curves", folders).values()
        files[invocation.curves] = _curves(archive)
    for path, data in files.items():
        _write(path, data)
    print(f"Page: {output}")
    return 0


def _studies(option: str, folders: Sequence[Path]) -> dict[str, Archive]:
    """Studies by their folders' names."""
    found: dict[str, Archive] = {}
    for folder in folders:
        require((folder / STUDY).is_file(), option, "asked for with studies only", folder)
        name = folder.resolve().name
        require(name not in found, option, "asked for with studies of different names", name)
        found[name] = read_study(folder)
    return found


def _map_files(path: Path, studies: Mapping[str, Archive]) -> dict[Path, bytes]:
    """The map of some studies, as one picture and as a text."""
    known = [mapped_metrics(archive.results) for archive in studies.values()]
    metric = next((one for one in known[0] if all(one in other for other in known)), None)
    law = "asked for with studies of one metric, or that all ran true and plus-one"
    require(metric is not None, "map", law, " and ".join(own[0] for own in known))
    measure, text = measure_of(str(metric)), ""
    for split in reversed(SPLITS):
        maps = {name: _points("map", archive, metric, split) for name, archive in studies.items()}
        _require_same_rules(maps)
        said = "".join(f"- {sentence}\n" for sentence in map_text(maps))
        text += f"## {measure.name}, {split} worlds\n\n{said}\n{map_markdown(maps, measure)}\n"
        if split == SPLITS[1]:
            picture = draw_map(maps, measure)
    return {path: picture, path.with_suffix(".md"): f"{text.rstrip()}\n".encode()}


def _points(option: str, archive: Archive, metric: str | None, split: str) -> list[Point]:
    points = heterogeneity_map(archive.tried(), archive.results, metric=metric, split=split)
    require(bool(points), option, "asked of a study in which some setting varied", archive.path)
    return points


def _require_same_rules(maps: Maps) -> None:
    each = {name: set(points[0].differences) for name, points in maps.items()}
    first = set(rules_of(maps))
    for name, rules in each.items():
        alone = ", ".join(sorted(rules ^ first))
        law = "asked for with studies that compare the same rules"
        require(not alone, "map", law, f"{alone} in {next(iter(maps))} or {name} alone")


def _curves(archive: Archive) -> bytes:
    """Every rule of a study by the level of each dial."""
    metric = mapped_metrics(archive.results)[0]
    by_split: dict[str, list[Point]] = {
        split: _points("curves", archive, metric, split) for split in reversed(SPLITS)
    }
    return draw_levels(by_split, measure_of(metric), units_of(archive))


def _write(path: Path, data: bytes) -> None:
    try:
        write_atomically(path, data)
    except OSError as err:
        raise ConfigError(
            f"output must be a file that can be written, got {path}: {err.strerror}"
        ) from None
