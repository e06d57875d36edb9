"""`report`: one self-contained HTML page about runs and studies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from fedirl_ray.atomic import write_atomically
from fedirl_ray.cli import PROG, load, manual
from fedirl_ray.domain.domain import SPLITS
from fedirl_ray.engine.record import CONFIG
from fedirl_ray.errors import ConfigError
from fedirl_ray.laws import require
from fedirl_ray.report.folder import draw_run, read_run
from fedirl_ray.report.heterogeneity import Maps, map_markdown, map_text, rules_of
from fedirl_ray.report.levels import draw_levels, units_of
from fedirl_ray.report.map_picture import draw_map
from fedirl_ray.report.measure import measure_of
from fedirl_ray.report.page import write_page
from fedirl_ray.report.svg import Format
from fedirl_ray.study.archive import STUDY, Archive, read_study
from fedirl_ray.study.heterogeneity import Point, heterogeneity_map, mapped_metrics

PAGE, PAGE_SUFFIX = "report.html", ".html"
FIGURES: dict[str, Format] = {".svg": "svg", ".pdf": "pdf", ".png": "png"}
"""Files of figures by their endings."""
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
    """File to write: .html, the page; .svg, .pdf or .png, the figure of one run or the map of
    studies alone; None: report.html in the folder, or in the current one for several."""
    map: Path | None = None
    """Also write the heterogeneity map to this .svg, .pdf or .png, of several studies side by
    side, and its text and tables to a .md beside it. It is of value where all studies ran true and
    plus-one, the columns that are its 100 and its 0, else of what their tables are of."""
    curves: Path | None = None
    """Also write to such a file what every rule of a study comes to by the level of each dial, in
    held-out worlds and in the clients' own."""

    def __post_init__(self) -> None:
        """Check every limit."""
        if self.output is not None:
            known = self.output.suffix in (PAGE_SUFFIX, *FIGURES)
            require(known, "output", "a .html, .svg, .pdf or .png file", self.output)
        for name in ("map", "curves"):
            path = getattr(self, name)
            law = "a .svg, .pdf or .png file"
            require(path is None or path.suffix in FIGURES, name, law, path)


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
    page = output.suffix not in FIGURES
    files = {output: write_page(folders).encode() if page else _figure(output, folders)}
    if invocation.map is not None:
        files |= _map_files("map", invocation.map, _studies("map", folders))
    if invocation.curves is not None:
        require(len(folders) == 1, "curves", "asked for with one study", len(folders))
        (archive,) = _studies("curves", folders).values()
        files[invocation.curves] = _curves(archive, FIGURES[invocation.curves.suffix])
    for path, data in files.items():
        _write(path, data)
    print(f"{'Page' if page else 'Figure'}: {output}")
    return 0


def _figure(path: Path, folders: Sequence[Path]) -> bytes:
    """The figure of one run, or the map of studies."""
    if all((folder / STUDY).is_file() for folder in folders):
        return _map_files("output", path, _studies("output", folders))[path]
    law = "a .html file for anything but one run, or studies"
    one = len(folders) == 1 and (folders[0] / CONFIG).is_file()
    require(one, "output", law, path)
    figure = draw_run(read_run(folders[0]), FIGURES[path.suffix])
    if figure is None:
        raise ConfigError(
            "output must be a .html file for a run without a figure (neither grids nor learning "
            f"curves), got {path} for {folders[0]}"
        )
    return figure


def _studies(option: str, folders: Sequence[Path]) -> dict[str, Archive]:
    """Studies by their folders' names."""
    found: dict[str, Archive] = {}
    for folder in folders:
        require((folder / STUDY).is_file(), option, "asked for with studies only", folder)
        name = folder.resolve().name
        require(name not in found, option, "asked for with studies of different names", name)
        found[name] = read_study(folder)
    return found


def _map_files(option: str, path: Path, studies: Mapping[str, Archive]) -> dict[Path, bytes]:
    """The map of some studies, as one picture and as a text."""
    known = [mapped_metrics(archive.results) for archive in studies.values()]
    metric = next((one for one in known[0] if all(one in other for other in known)), None)
    law = "asked for with studies of one metric, or that all ran true and plus-one"
    require(metric is not None, option, law, " and ".join(own[0] for own in known))
    measure, text = measure_of(str(metric)), ""
    for split in reversed(SPLITS):
        maps = {name: _points(option, archive, metric, split) for name, archive in studies.items()}
        _require_same_rules(option, maps)
        said = "".join(f"- {sentence}\n" for sentence in map_text(maps))
        text += f"## {measure.name}, {split} worlds\n\n{said}\n{map_markdown(maps, measure)}\n"
        if split == SPLITS[1]:
            picture = draw_map(maps, measure, FIGURES[path.suffix])
    return {path: picture, path.with_suffix(".md"): f"{text.rstrip()}\n".encode()}


def _points(option: str, archive: Archive, metric: str | None, split: str) -> list[Point]:
    points = heterogeneity_map(archive.tried(), archive.results, metric=metric, split=split)
    require(bool(points), option, "asked of a study in which some setting varied", archive.path)
    return points


def _require_same_rules(option: str, maps: Maps) -> None:
    each = {name: set(points[0].differences) for name, points in maps.items()}
    first = set(rules_of(maps))
    for name, rules in each.items():
        alone = ", ".join(sorted(rules ^ first))
        law = "asked for with studies that compare the same rules"
        require(not alone, option, law, f"{alone} in {next(iter(maps))} or {name} alone")


def _curves(archive: Archive, form: Format) -> bytes:
    """Every rule of a study by the level of each dial."""
    metric = mapped_metrics(archive.results)[0]
    by_split: dict[str, list[Point]] = {
        split: _points("curves", archive, metric, split) for split in reversed(SPLITS)
    }
    return draw_levels(by_split, measure_of(metric), units_of(archive), form)


def _write(path: Path, data: bytes) -> None:
    try:
        write_atomically(path, data)
    except OSError as err:
        raise ConfigError(
            f"output must be a file that can be written, got {path}: {err.strerror}"
        ) from None
