"""Federations on control tasks as tables, answers and pictures."""

from collections.abc import Sequence

import numpy as np

from fedirl_ray.config_fusion import fusing
from fedirl_ray.domain.control_judging import FACTS
from fedirl_ray.domain.domain import SPLITS, Split
from fedirl_ray.evaluate.statistics import Interval, interval, paired
from fedirl_ray.problem.control.paper import TASKS
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.report.curves import MATCHED, draw_curves, legend_of
from fedirl_ray.report.difference import legend, mark
from fedirl_ray.report.measure import measure_of
from fedirl_ray.report.reproduction.markdown import difference, rounded, table
from fedirl_ray.report.reproduction.plots import finish, panels_of
from fedirl_ray.report.reproduction.scores import by_seed, columns_of, curves_of, samples_of
from fedirl_ray.report.reproduction.theory import having
from fedirl_ray.report.standing import standings_text
from fedirl_ray.report.wording import in_markdown
from fedirl_ray.study.reproduction.figures import PUBLISHED
from fedirl_ray.study.reproduction.plan import Plan, Record

RETURN = measure_of("return")
READING = (
    "Return is the task's own, mean ± 95 % interval over seeds (a seed averages its worlds); "
    "*agent* is PPO trained on the reward in the world itself, *planner* acts by a plan on the "
    "lattice. Differences are paired by seed. Distance to the true reward is blind to shaping and "
    "scale (STARC): 0 the same, 1 opposite. Rules marked *as mean* are the same reward brought to "
    "the parameter mean's offset and scale over the lattice; plus-one and minus-one are constant "
    "rewards, random ones are as long as the mean's theta. A rule counts as better only where its "
    "paired intervals against the mean and against every one of these controls all lie above "
    "zero; the control named is the one with the smallest margin."
)


def control_text(rows: Sequence[Record], plan: Plan | None = None) -> list[str]:
    """Every task's experts, table and plain answer.

    Args:
        rows: What was measured.
        plan: Of no matter: no number of these pages depends on it.
    """
    lines = [READING, ""]
    for task in dict.fromkeys(row["task"] for row in rows):
        own = having(rows, task=task)
        parts = (_data(own, task), _returns(own), _answer(own, task))
        lines += [f"### {task}", "", *(line for part in parts if part for line in (*part, ""))]
    return lines


def _data(rows: Sequence[Record], task: str) -> list[str]:
    """What clients learnt from."""
    if not having(rows, metric=FACTS[0]):
        return []
    shown, outside, guessed, _ = (
        interval(np.array([row["value"] for row in having(rows, metric=name, judge="")]))
        for name in FACTS
    )
    bar = TASKS[task]
    return [
        f"Clients' demonstrations, whose actions are drawn, earn {rounded(shown)} on average; an "
        f"expert counts as one from {bar.expert_return:g} ({bar.reference}). "
        f"{100.0 * outside.mean:.1f} % of their steps lie beyond the lattice, "
        f"{100.0 * guessed.mean:.0f} % of which is farther than a spacing from any recorded step."
    ]


def _returns(rows: Sequence[Record]) -> list[str]:
    """Columns x judges and splits, and what the table's marks mean."""
    columns = columns_of(rows)
    # A fused rule has a second line: its reward at the mean's level.
    lines = [(name, "") for name in columns]
    fused = [name for name in fusing(columns) if name != "mean"]
    lines += [(name, MATCHED) for name in fused if _is_judged(rows, name)]
    lines.sort(key=lambda line: columns.index(line[0]))
    gaps = {
        (*line, split): gap
        for line in lines
        for split in SPLITS
        if (gap := _against_mean(rows, *line, split)) is not None
    }
    said = mark(gaps, difference)
    cells, levels = [], list[Interval]()
    for name, ending in lines:
        row = [in_markdown(f"{name} as mean" if ending else name)]
        for split in SPLITS:
            for judge in ("agent", "planner"):
                samples = by_seed(rows, judge + ending, name, split)
                levels += [interval(samples)] if samples.size else []
                row.append(_shown(samples))
            row.append(in_markdown(said.get((name, ending, split), "")))
            distance = by_seed(rows, "planner", name, split, "distance")
            row.append(f"{distance.mean():.2f}" if distance.size else "")
        cells.append(row)
    head = ["reward"]
    for split in SPLITS:
        head += [f"{split}: agent", "planner", "agent - mean", "distance"]
    seeds = len({row["seed"] for row in rows})
    return [*table(head, cells), "", in_markdown(" ".join(legend(gaps.values(), seeds, levels)))]


def _is_judged(rows: Sequence[Record], name: str) -> bool:
    """Whether a rule was judged at the mean's level."""
    judges = ("agent" + MATCHED, "planner" + MATCHED)
    return any(by_seed(rows, judge, name, split).size for judge in judges for split in SPLITS)


def _against_mean(rows: Sequence[Record], name: str, ending: str, split: Split) -> Interval | None:
    own = by_seed(rows, "agent" + ending, name, split)
    base = by_seed(rows, "agent", "mean", split)
    if name == "mean" or not own.size or own.shape != base.shape:
        return None
    return paired(own, base)


def _answer(rows: Sequence[Record], task: str) -> list[str]:
    """The plain answer, one sentence a split, and where the judges disagree."""
    lines = []
    paper = PUBLISHED[task]
    ours = {rule: by_seed(rows, "agent", rule, SPLITS[0]) for rule in ("barycenter", "mean")}
    if all(values.size for values in ours.values()):
        lines.append(
            f"The paper (read off its figure): barycenter about {paper.barycenter:g}, mean about "
            f"{paper.mean:g}. Here: {_shown(ours['barycenter'])} and {_shown(ours['mean'])}."
        )
    columns = columns_of(rows)
    by_split = {split: samples_of(rows, "agent", split, columns) for split in SPLITS}
    lines += standings_text(by_split, columns, RETURN)
    lines += [said for split in SPLITS for said in _disagreement(rows, split)]
    return [f"- {line}" for line in lines]


def _disagreement(rows: Sequence[Record], split: Split) -> list[str]:
    """Whether agents and planner order barycenter and mean differently."""
    signs = {}
    for judge in ("agent", "planner"):
        own, base = (by_seed(rows, judge, rule, split) for rule in ("barycenter", "mean"))
        if not own.size or own.shape != base.shape:
            return []
        found = paired(own, base)
        signs[judge] = int(np.sign(found.mean)) if found.excludes_zero else 0
    if signs["agent"] == signs["planner"]:
        return []
    words = {1: "above", 0: "no different from", -1: "below"}
    return [
        f"{split}: the judges disagree. By the planner the barycenter is "
        f"{words[signs['planner']]} the mean, by agents {words[signs['agent']]} it; the planner "
        "screens, agents count."
    ]


def control_figure(rows: Sequence[Record], title: str) -> bytes | None:
    """Learning curves: tasks x splits; controls dotted, matched rewards dashed.

    Returns:
        A PNG; None where no agent was trained.
    """
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    columns = columns_of(rows)
    curves = {
        (task, split): curves_of(having(rows, task=task), split, columns)
        for task in tasks
        for split in SPLITS
    }
    splits = [split for split in SPLITS if any(curves[task, split] for task in tasks)]
    if not splits:
        return None
    figure, panels = panels_of(len(tasks), len(splits), (9.2 / len(splits), 3.0))
    for line, task in zip(panels, tasks, strict=True):
        for panel, split in zip(line, splits, strict=True):
            draw_curves(panel, curves[task, split], columns, RETURN)
            panel.set_title(f"{task}, {split}", fontsize=8)
    lines = legend_of([one for each in curves.values() for one in each], columns)
    return finish(figure, panels, title, lines)


def _shown(samples: Floats) -> str:
    return rounded(interval(samples)) if samples.size else ""
