"""Studies of control tasks as tables, answers and pictures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedirl_ray.evaluate.statistics import Interval, interval, paired
from fedirl_ray.problem.control.paper import TASKS
from fedirl_ray.problem.control.task import Task
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.report.difference import bar, legend, mark
from fedirl_ray.report.reproduction.markdown import difference, rounded, table
from fedirl_ray.report.reproduction.plots import finish, panels_of
from fedirl_ray.report.reproduction.theory import having
from fedirl_ray.report.wording import in_markdown
from fedirl_ray.study.control.columns import MATCHED, TRUE
from fedirl_ray.study.control.verdict import (
    Record,
    Standing,
    by_seed,
    columns_of,
    curve,
    is_above,
    is_control,
    standings,
)
from fedirl_ray.study.reproduction.figures import PUBLISHED
from fedirl_ray.study.reproduction.plan import Plan

SPLITS = {False: "clients' physics", True: "held-out physics"}
COLORS = {
    "mean": "tab:blue",
    "barycenter": "tab:red",
    "debiased": "tab:orange",
    "arithmetic": "tab:purple",
    "median": "tab:cyan",
    "local": "tab:green",
    "pooled": "tab:olive",
    TRUE: "black",
}
READING = (
    "Return is the task's own, mean ± 95 % interval over seeds (a seed averages its worlds); "
    "*agent* is PPO trained on the reward in the world itself, *planner* acts by a plan on the "
    "lattice. Differences are paired by seed. Distance to the true reward is blind to shaping and "
    "scale (STARC): 0 the same, 1 opposite. Rules marked *as mean* are the same reward brought to "
    "the parameter mean's offset and scale over the lattice; +1 and -1 are constant rewards, "
    "random ones are as long as the mean's theta. A rule counts as better only where its paired "
    "intervals against the mean and against every one of these controls all lie above zero; the "
    "control named is the one with the smallest margin."
)


def control_text(
    rows: Sequence[Record], plan: Plan | None = None, tasks: Mapping[str, Task] = TASKS
) -> list[str]:
    """Every task's experts, table and plain answer.

    Args:
        rows: What was measured.
        plan: Of no matter: no number of these pages depends on it.
        tasks: Where each task's expert return is stated, by name.
    """
    lines = [READING, ""]
    for task in dict.fromkeys(row["task"] for row in rows):
        own = having(rows, task=task)
        lines += [
            f"### {task}",
            "",
            *_data(own, tasks[task]),
            "",
            *_returns(own),
            "",
            *_answer(own, task),
        ]
    return lines


def _data(rows: Sequence[Record], task: Task) -> list[str]:
    """What clients learnt from, one line a client."""
    lines = []
    for client in dict.fromkeys(row["client"] for row in rows if row["kind"] == "client"):
        here = having(rows, client=client)
        reached = _values(having(here, name="reached"))
        lines.append(
            [
                f"{client:g}",
                f"{reached[0]:.0f}" if reached.size else "",
                _is_expert(reached[0], task.expert_return) if reached.size else "",
                f"{_values(having(here, name='demonstrated')).mean():.0f}",
                f"{100.0 * _values(having(here, name='outside')).mean():.1f} %",
                f"{100.0 * _values(having(here, name='extrapolated')).mean():.0f} %",
                f"{_values(having(here, name='objective')).mean():.3f}",
            ]
        )
    head = ("client", "expert", "one", "shown", "off lattice", "guessed", "objective")
    stated = f"one if at least {task.expert_return:g} ({task.reference})"
    judged = stated if np.isfinite(task.expert_return) else "no bar is stated"
    return [
        f"Experts: mean return over fresh episodes; {judged}. Shown: mean return of the "
        "demonstrations, whose actions are drawn. Guessed: share of an estimated lattice farther "
        "than a spacing from any recorded step.",
        "",
        *table(head, lines),
        *_recorded(rows),
    ]


def _recorded(rows: Sequence[Record]) -> list[str]:
    """What is to be known of demonstrations that somebody recorded; nothing of experts' own."""
    if having(rows, kind="expert") or not having(rows, kind="client"):
        return []
    lines = [
        "",
        "Clients learnt from recorded demonstrations, the same for every seed: seeds vary the "
        "judges' episodes, the agents and the random controls alone, and ± says nothing of other "
        "demonstrations.",
    ]
    steps = []
    for client in dict.fromkeys(row["client"] for row in having(rows, name="least likely")):
        here = having(rows, client=client)
        chance, episode, step = (
            _values(having(here, name=f"least likely{part}"))[0]
            for part in ("", " episode", " step")
        )
        steps.append(
            f"client {client:g}: {100.0 * chance:.2g} % (episode {episode:.0f}, step {step:.0f})"
        )
    if steps:
        lines += [
            "",
            "Least likely recorded step, by the share of the estimated lattice's next states in "
            f"the cell where it led: {'; '.join(steps)}.",
        ]
    return lines


def _is_expert(reached: float, bar: float) -> str:
    if not np.isfinite(bar):
        return "not stated"
    return "yes" if reached >= bar else "**no**"


def _returns(rows: Sequence[Record]) -> list[str]:
    """Columns x judges and splits, and what the table's marks mean."""
    columns = columns_of(rows)
    gaps = {
        (column, held_out): gap
        for column in columns
        for held_out in SPLITS
        if (gap := _against_mean(rows, column, held_out)) is not None
    }
    said = mark(gaps, difference)
    lines, levels = [], list[Interval]()
    for column in columns:
        line = [in_markdown(column)]
        for held_out in SPLITS:
            for kind in ("agent", "planner"):
                samples = by_seed(rows, kind, column, held_out)
                levels += [interval(samples)] if samples.size else []
                line.append(_shown(samples))
            line.append(in_markdown(said.get((column, held_out), "")))
            distance = by_seed(rows, "planner", column, held_out, "distance")
            line.append(f"{distance.mean():.2f}" if distance.size else "")
        lines.append(line)
    head = ["reward"]
    for split in SPLITS.values():
        head += [f"{split}: agent", "planner", "agent - mean", "distance"]
    seeds = len({row["seed"] for row in rows if row["kind"] == "planner"})
    return [*table(head, lines), "", in_markdown(" ".join(legend(gaps.values(), seeds, levels)))]


def _against_mean(rows: Sequence[Record], column: str, held_out: bool) -> Interval | None:
    own = by_seed(rows, "agent", column, held_out)
    base = by_seed(rows, "agent", "mean", held_out)
    if column == "mean" or not own.size or own.shape != base.shape:
        return None
    return paired(own, base)


def _answer(rows: Sequence[Record], task: str) -> list[str]:
    """The plain answer, one sentence a split, and where the judges disagree."""
    lines = []
    if task in PUBLISHED:
        paper = PUBLISHED[task]
        ours = {rule: by_seed(rows, "agent", rule, False) for rule in ("barycenter", "mean")}
        if all(values.size for values in ours.values()):
            lines.append(
                f"- The paper (read off its figure): barycenter about {paper.barycenter:g}, mean "
                f"about {paper.mean:g}. Here: {_shown(ours['barycenter'])} and "
                f"{_shown(ours['mean'])}."
            )
    for held_out, split in SPLITS.items():
        by_agent = standings(rows, "agent", held_out)
        for one in by_agent:
            if one.rule in ("barycenter", "debiased"):
                lines.append(f"- {split}, {one.rule}: {_said(one)}")
        lines += _disagreement(rows, held_out, split)
    return [*lines, ""]


def _said(one: Standing) -> str:
    mean, control = difference(one.over_mean), difference(one.over_controls[one.closest])
    facts = (
        f"{mean} over the mean, {control} over the blind control with the smallest margin "
        f"({one.closest}, of {len(one.over_controls)})."
    )
    if one.better:
        return f"**better** than the mean and every control: {facts}"
    if one.worse:
        return f"**worse** than the mean: {facts}"
    if is_above(one.over_mean):
        return f"above the mean, yet not above all that knows nothing: {facts}"
    if np.isnan(one.over_mean.half_width):
        return f"one seed, which gives no interval and so no answer: {facts}"
    return f"no difference shown: {facts}"


def _disagreement(rows: Sequence[Record], held_out: bool, split: str) -> list[str]:
    """Whether agents and planner order barycenter and mean differently."""
    signs = {}
    for kind in ("agent", "planner"):
        own = by_seed(rows, kind, "barycenter", held_out)
        base = by_seed(rows, kind, "mean", held_out)
        if not own.size or own.shape != base.shape:
            return []
        found = paired(own, base)
        signs[kind] = int(np.sign(found.mean)) if found.excludes_zero else 0
    if signs["agent"] == signs["planner"]:
        return []
    words = {1: "above", 0: "no different from", -1: "below"}
    return [
        f"- {split}: the judges disagree. By the planner the barycenter is "
        f"{words[signs['planner']]} the mean, by agents {words[signs['agent']]} it; the planner "
        "screens, agents count."
    ]


def control_figure(rows: Sequence[Record], title: str) -> bytes | None:
    """Learning curves: tasks x splits; controls dotted, matched rewards dashed.

    Returns:
        A PNG; None where no agent was trained.
    """
    trained = [row for row in rows if row["kind"] == "agent"]
    if not trained:
        return None
    tasks = list(dict.fromkeys(row["task"] for row in trained))
    judged = {row["held_out"] for row in trained}
    splits = [(held_out, split) for held_out, split in SPLITS.items() if held_out in judged]
    figure, panels = panels_of(len(tasks), len(splits), (9.2 / len(splits), 3.0))
    for line, task in zip(panels, tasks, strict=True):
        own = having(trained, task=task)
        for panel, (held_out, split) in zip(line, splits, strict=True):
            for column in columns_of(own):
                _draw(panel, own, column, held_out)
            panel.set_title(f"{task}, {split}", fontsize=8)
            panel.set_xlabel("environment steps", fontsize=8)
        line[0].set_ylabel("true return", fontsize=8)
    return finish(figure, panels, title)


def _draw(panel: Any, rows: Sequence[Record], column: str, held_out: bool) -> None:
    """One column's curve, with its interval where it is a main one."""
    found = curve(rows, column, held_out)
    if not found.returns.size:
        return
    plain = column.removesuffix(MATCHED)
    if is_control(column):
        style: Mapping[str, Any] = {"color": "grey", "linestyle": ":", "linewidth": 1.0}
    elif plain != column:
        style = {"color": COLORS.get(plain, "grey"), "linestyle": "--", "linewidth": 0.8}
    else:
        style = {"color": COLORS.get(plain, "grey"), "linestyle": "-", "linewidth": 1.3}
    marks = {"+1": "+", "-1": "_"}
    panel.plot(
        found.at,
        found.returns.mean(axis=0),
        marker=marks.get(column, ""),
        markersize=4,
        label=column if not column.startswith("random") else "random",
        **style,
    )
    if column in ("mean", "barycenter", TRUE) and len(found.returns) > 1:
        halves = np.nan_to_num([bar(interval(values)) for values in found.returns.T])
        middle = found.returns.mean(axis=0)
        panel.fill_between(
            found.at, middle - halves, middle + halves, color=style["color"], alpha=0.12, lw=0
        )


def _values(rows: Sequence[Record]) -> Floats:
    return np.array([row["value"] for row in rows], dtype=np.float64)


def _shown(samples: Floats) -> str:
    return rounded(interval(samples)) if samples.size else ""
