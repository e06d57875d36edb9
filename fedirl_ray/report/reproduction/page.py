"""A reproduction as one markdown page, and the pictures beside it."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from fedirl_ray.cli import PROG
from fedirl_ray.report.reproduction.control import control_figure, control_text
from fedirl_ray.report.reproduction.displaced import displaced_figure, displaced_text
from fedirl_ray.report.reproduction.plots import gaussians_figure, ratio_figure, theorem1_figure
from fedirl_ray.report.reproduction.privacy import privacy_figure, privacy_text
from fedirl_ray.report.reproduction.refinement import (
    refinement_figure,
    refinement_text,
    scale_text,
)
from fedirl_ray.report.reproduction.tables import choices_text, table1_text, table2_text
from fedirl_ray.report.reproduction.theory import communication_text, gaussians_text, theorem_text
from fedirl_ray.report.reproduction.unseen import unseen_text
from fedirl_ray.study.reproduction.parts import NAMES, PARTS, Name
from fedirl_ray.study.reproduction.plan import Plan, Record

TEXTS: dict[Name, Callable[[Sequence[Record], Plan], list[str]]] = {
    "table1": table1_text,
    "table2": table2_text,
    "choices": choices_text,
    "theorem1": theorem_text,
    "theorem2": theorem_text,
    "gaussians": gaussians_text,
    "communication": communication_text,
    "displaced": displaced_text,
    "unseen": unseen_text,
    "figure2": control_text,
    "figure3": control_text,
    "refinement": refinement_text,
    "scale": scale_text,
    "privacy": privacy_text,
}


def compose(
    found: Mapping[Name, Sequence[Record]], pictures: Mapping[Name, Iterable[str]], plan: Plan
) -> str:
    """Write down the parts that have been run, in their order.

    Args:
        found: Rows by part.
        pictures: File names by part, to be linked.
        plan: What they were run with.

    Returns:
        Markdown.
    """
    lines = ["# The paper, reproduced", ""]
    lines += [f"Scale {plan.scale}, root seed {plan.seed}.", ""]
    for name in NAMES:
        if name not in found:
            continue
        title = PARTS[name].title
        root = f" --seed {plan.seed}" if plan.seed else ""
        lines += [
            f"## {title}",
            "",
            f"`{PROG} reproduce {name} --scale {plan.scale}{root}`",
            "",
            *TEXTS[name](found[name], plan),
            "",
            *(f"![{title}]({file})\n" for file in pictures.get(name, ())),
        ]
    return "\n".join(lines)


def draw(name: Name, rows: Sequence[Record]) -> dict[str, bytes]:
    """A part's pictures by file name."""
    figures: dict[str, bytes | None]
    match name:
        case "theorem1":
            title = "Theorem 1: how loose, median over seeds (below 1: violated)"
            figures = {
                "theorem1": theorem1_figure(rows),
                "theorem1-ratio": ratio_figure(rows, title),
            }
        case "theorem2":
            title = "Theorem 2: how loose, median over seeds, where anything was lost"
            figures = {"theorem2-ratio": ratio_figure(rows, title)}
        case "gaussians":
            figures = {"gaussians": gaussians_figure(rows)}
        case "figure2" | "figure3":
            title = "Agents trained on fused rewards: true return, mean over seeds"
            figures = {name: control_figure(rows, title)}
        case "displaced":
            figures = {"displaced": displaced_figure(rows)}
        case "privacy":
            figures = {name: privacy_figure(rows)}
        case "refinement":
            figures = {name: refinement_figure(rows)}
        case _:
            figures = {}
    return {f"{stem}.png": png for stem, png in figures.items() if png is not None}
