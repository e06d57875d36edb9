"""Control tasks at other resolutions: returns, seconds and memory."""

from collections.abc import Sequence
from typing import Any

from fedirl_ray.domain.domain import SPLITS, Split
from fedirl_ray.evaluate.statistics import Interval, interval, paired
from fedirl_ray.report.curves import COLOURS
from fedirl_ray.report.difference import bar, legend
from fedirl_ray.report.reproduction.markdown import difference, rounded, table
from fedirl_ray.report.reproduction.plots import finish, panels_of
from fedirl_ray.report.reproduction.scores import by_seed
from fedirl_ray.report.reproduction.theory import having
from fedirl_ray.report.wording import in_markdown
from fedirl_ray.study.reproduction.plan import Plan, Record


def refinement_text(rows: Sequence[Record], plan: Plan | None = None) -> list[str]:
    """Returns against the lattice, judged by the planner."""
    lines, levels, gaps = [], list[Interval](), list[Interval]()
    for task, ground, points in _refined(rows):
        own = having(rows, task=task, ground=ground, points=points)
        for split in SPLITS:
            true, mean, *others = (
                by_seed(own, "planner", name, split)
                for name in ("true", "mean", "barycenter", "debiased")
            )
            shown = [interval(samples) for samples in (true, mean, *others)]
            over = [paired(other, mean) for other in others]
            levels += shown
            gaps += over
            lines.append(
                [
                    in_markdown(task),
                    ground,
                    points,
                    str(own[0]["support"]),
                    split,
                    *map(rounded, shown),
                    *map(difference, over),
                ]
            )
    head = (
        "task",
        "epsilon in",
        "states",
        "support",
        "worlds",
        "true reward",
        "mean",
        "barycenter",
        "debiased",
        "barycenter - mean",
        "debiased - mean",
    )
    return [
        "Everything is done at the resolution named: fitting, fusing, planning. Epsilon is .5 in "
        "squared spacings of the lattice itself (*cells*: finer lattices are blurred over shorter "
        "ways) or of the paper's lattice (*paper*: over the same way at every resolution). "
        "Differences are paired by seed, with 95 % intervals; none is starred.",
        "",
        *table(head, lines),
        "",
        in_markdown(" ".join(legend((), None, [*levels, *gaps]))),
    ]


def refinement_figure(rows: Sequence[Record]) -> bytes:
    """Return against support size: tasks x splits, one line a rule and unit of epsilon."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    figure, panels = panels_of(len(tasks), 2, (4.6, 3.0))
    for line, task in zip(panels, tasks, strict=True):
        for panel, split in zip(line, SPLITS, strict=True):
            for ground, dash in (("cells", "-"), ("paper", "--")):
                for column in ("mean", "barycenter", "debiased", "true"):
                    own = having(rows, task=task, ground=ground)
                    if column in ("mean", "true") and ground == "paper":
                        continue  # epsilon is nothing to them
                    label = (
                        column if column in ("mean", "true") else f"{column}, epsilon in {ground}"
                    )
                    _against_size(panel, own, column, split, dash, label)
            panel.set_xscale("log")
            panel.set_title(f"{task}, {split}", fontsize=8)
            panel.set_xlabel("support points", fontsize=8)
        line[0].set_ylabel("true return of the planner", fontsize=8)
    return finish(figure, panels, "Return against the lattice's resolution")


def _against_size(
    panel: Any, rows: Sequence[Record], column: str, split: Split, dash: str, label: str
) -> None:
    sizes = sorted({row["support"] for row in rows})
    found = [
        interval(by_seed(having(rows, support=size), "planner", column, split)) for size in sizes
    ]
    middle = [one.mean for one in found]
    halves = [bar(one) for one in found]
    color = COLOURS[column]
    panel.errorbar(
        sizes, middle, halves, color=color, ls=dash, marker="o", ms=3, lw=1, capsize=2, label=label
    )


def scale_text(rows: Sequence[Record], plan: Plan | None = None) -> list[str]:
    """Seconds and memory of fusing, one line a fleet and rule."""
    lines = [
        [
            row["task"],
            f"{row['support']:,} ({row['axes']} axes)",
            str(row["clients"]),
            row["rule"],
            f"{row['seconds']:.2f}",
            f"{row['mebibytes']:.0f}",
            f"{row['iterations']}" + ("" if row["converged"] else " (not converged)"),
        ]
        for row in rows
    ]
    head = ("task", "support", "clients", "rule", "seconds", "MiB allocated at most", "iterations")
    return [
        "One fusion of random rewards, from theta to theta, on one thread.",
        "",
        *table(head, lines),
    ]


def _refined(rows: Sequence[Record]) -> list[tuple[str, str, str]]:
    return list(dict.fromkeys((row["task"], row["ground"], row["points"]) for row in rows))
