"""One page about some runs and studies: everything in one HTML file, nothing from the network."""

from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from fedirl_ray.engine.record import CONFIG
from fedirl_ray.errors import DataError
from fedirl_ray.report.folder import read_run
from fedirl_ray.report.run_section import run_section
from fedirl_ray.report.study_section import study_section
from fedirl_ray.study.archive import STUDY, read_study


def write_page(folders: Sequence[Path]) -> str:
    """Write one page about runs and studies.

    Args:
        folders: Theirs, at least one.

    Returns:
        The page: HTML that loads nothing.

    Raises:
        ConfigError: A run's settings are not of this version.
        DataError: A folder is neither a run nor a study, or cannot be read.
    """
    sections, titles = [], []
    plotted = False
    for i, path in enumerate(folders):
        if (path / CONFIG).is_file():
            found = run_section(read_run(path), f"r{i}")
        elif (path / STUDY).is_file():
            found = study_section(read_study(path), f"r{i}")
            plotted = plotted or bool(found["pictures"])
        else:
            raise DataError(
                f"{path} must be the folder of a run (with {CONFIG}) or of a study (with {STUDY})"
            )
        sections.append(found)
        titles.append(found["title"])
    return _templates().get_template("page.html").render(
        title=titles[0] if len(titles) == 1 else f"{len(titles)} folders",
        sections=sections,
        plotly=_plotly() if plotted else None,
    )  # fmt: skip


def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("fedirl_ray.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _plotly() -> Markup:
    """The library that draws a study's pictures, word by word."""
    # Plotly's own file, shipped with its package to be put into pages.
    return Markup(get_plotlyjs())
