"""One page about some runs and studies: everything in one HTML file, nothing from the network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from fedirl_ray.engine.record import CONFIG, RunFolder
from fedirl_ray.errors import DataError, FedirlError
from fedirl_ray.report.folder import read_run
from fedirl_ray.report.run_section import run_section
from fedirl_ray.report.study_section import study_section
from fedirl_ray.report.wording import printable
from fedirl_ray.study.archive import STUDY, read_study

CONTROL, CONTROL_PAGE = "control.yaml", "results.md"
"""What earlier versions left of continuous control, apart from runs."""


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
    sections = [_section(path, f"r{i}") for i, path in enumerate(folders)]
    plotted = any(section.get("pictures") for section in sections)
    titles = [section["title"] for section in sections]
    return _templates().get_template("page.html").render(
        title=titles[0] if len(titles) == 1 else f"{len(titles)} folders",
        sections=sections,
        plotly=_plotly() if plotted else None,
    )  # fmt: skip


def _section(path: Path, prefix: str) -> dict[str, Any]:
    """What the template of one folder is filled with."""
    try:
        if (path / CONFIG).is_file():
            return run_section(read_run(path), prefix)
        if (path / STUDY).is_file():
            return study_section(read_study(path), prefix)
        if (path / CONTROL).is_file():
            raise DataError(
                f"{path} must be the folder of a run or a study, got a control study, which "
                f"{RunFolder(path).version} left; its own page is {CONTROL_PAGE}"
            )
    except FedirlError:
        raise
    except Exception as err:
        # Files that are well formed and yet not ours break whatever reads them first.
        raise DataError(
            f"{path} must be a folder as a run or a study left it, got one that cannot be shown: "
            f"{type(err).__name__}: {err}"
        ) from err
    raise DataError(
        f"{path} must be the folder of a run (with {CONFIG}) or of a study (with {STUDY})"
    )


def _shown(value: Any) -> Any:
    """Names and values with their control characters written out."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        finalize=_shown,
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
