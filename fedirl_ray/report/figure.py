"""The picture of a run: reward maps on a grid, learning curves where judges learn."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fedirl_ray.config import RunConfig
from fedirl_ray.config_fusion import REFERENCES
from fedirl_ray.domain.domain import SPLITS, Channel, Domain, Split
from fedirl_ray.engine.result import SeedResult, judges
from fedirl_ray.privacy.protection import SIMULATED
from fedirl_ray.problem.family import draw_world
from fedirl_ray.problem.greedy import greedy_policy
from fedirl_ray.problem.kind import kind_of
from fedirl_ray.problem.mdp import Floats, Stack, TabularMDP
from fedirl_ray.report.measure import Measure, measure_of
from fedirl_ray.report.table import label_of
from fedirl_ray.report.wording import counted, printable

if TYPE_CHECKING:
    from fedirl_ray.report.svg import Format

MOST_CLIENTS = 6


def figure_of(domain: Domain, results: Sequence[SeedResult]) -> bytes | None:
    """Draw what a run looks like.

    Returns:
        A PNG; None of worlds that are no grids, by judges that do not learn.
    """
    config, metric = domain.config, domain.metric
    scores = {split: np.stack([result.scores(split) for result in results]) for split in SPLITS}
    curves = learning_figure(config, domain.channels, metric, scores)
    if curves is not None or kind_of(config.problem.name) != "tabular":
        return curves
    first = next(iter(judges(domain).values()))
    return reward_maps(config, results[0], measure_of(metric), channel=first)


def learning_figure(
    config: RunConfig,
    channels: Sequence[Channel],
    metric: str,
    scores: Mapping[Split, Floats],
    form: "Format" = "png",
) -> bytes | None:
    """Draw what judges that learn come to along their training.

    Args:
        config: The run.
        channels: What the scores are, `x` of them.
        metric: Of which.
        scores: By split, mean over its worlds, `[seeds, c, x]`.
        form: Of the file.

    Returns:
        The figure; None where no judge learns.
    """
    from fedirl_ray.report.curves import curves_figure, curves_of  # Matplotlib takes time to import

    curves = {split: curves_of(channels, metric, own) for split, own in scores.items()}
    if not any(curves.values()):
        return None
    seeds = counted(len(scores[SPLITS[0]]), "seed")
    title = (
        f"{printable(config.problem.name)}, {counted(config.clients, 'client')}: {metric} of what "
        f"is learnt from each reward, mean over {seeds}, 95 % bands{_simulated(config)}"
    )
    return curves_figure(curves, config.fusion.rules, measure_of(metric), title, form)


def reward_maps(
    config: RunConfig,
    result: SeedResult,
    measure: Measure,
    *,
    channel: int = 0,
    seed: int = 0,
    form: "Format" = "png",
) -> bytes | None:
    """Draw clients x rules: reward as colour, greedy policy as arrows (the paper's figure 1).

    Each panel has a colour scale of its own, because rules differ in scale as well as in
    direction; a reward's range stands under its panel.

    Args:
        config: The run.
        result: The seed to draw.
        measure: What stands under a panel.
        channel: Which number of the scores that is.
        seed: The seed's number.
        form: Of the file.

    Returns:
        The figure; None where the worlds are not grids with moves, or rewards depend on the action.
    """
    shown = range(min(config.clients, MOST_CLIENTS))
    worlds = [draw_world(config.problem, config.seed, seed, "client", i) for i in shown]
    if len(worlds[0].axes) != 2 or worlds[0].moves is None or worlds[0].features.shape[1] != 1:
        return None
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from fedirl_ray.report.svg import encoded

    rules = [rule for rule in config.fusion.rules if rule == "local" or rule not in REFERENCES]
    figure, panels = plt.subplots(
        len(worlds),
        len(rules),
        figsize=(2.1 * len(rules) + 0.6, 2.35 * len(worlds) + 0.7),
        squeeze=False,
        layout="constrained",
    )
    for i, world in enumerate(worlds):
        for panel, rule in zip(panels[i], rules, strict=True):
            c = config.fusion.rules.index(rule)
            theta = result.client_theta[i] if rule == "local" else result.theta[c]
            _draw_world(panel, world, theta, config.evaluation.discount)
            score = measure.scale * result.client_scores[i, c, channel]
            shown_score = f"{score:.0f} {measure.unit}" if measure.unit else f"{score:.3g}"
            low, high = _range(world, theta)
            panel.set_xlabel(f"{shown_score} | {low:.2g} to {high:.2g}", fontsize=7)
            if i == 0:
                panel.set_title(label_of(rule).split(" (")[0], fontsize=8)
        panels[i][0].set_ylabel(f"client {i}", fontsize=8)
    figure.suptitle(
        f"{config.problem.name}, seed {seed}: reward (bright is high), greedy policy at discount "
        f"{config.evaluation.discount:g};\nunder each panel: {measure.metric} in the client's "
        f"world | range of the reward{_simulated(config)}",
        fontsize=8,
    )
    data = encoded(figure, form)
    plt.close(figure)
    return data


def _simulated(config: RunConfig) -> str:
    """A line of its own where noise protects nobody."""
    return f"\n{SIMULATED}" if config.privacy.simulated else ""


def _range(world: TabularMDP, theta: Floats) -> tuple[float, float]:
    reward = world.features[:, 0] @ theta
    return float(reward.min()), float(reward.max())


def _draw_world(panel: Any, world: TabularMDP, theta: Floats, discount: float) -> None:
    rows, columns = (len(axis) for axis in world.axes)
    reward = (world.features[:, 0] @ theta).reshape(rows, columns)
    traps = (world.terminal & ~world.goal).reshape(rows, columns)
    panel.imshow(np.ma.array(reward, mask=traps), cmap="viridis")
    panel.imshow(np.ma.array(np.ones_like(reward), mask=~traps), cmap="Greys", vmin=0, vmax=2)
    stack = Stack([world])
    policy = greedy_policy(stack, stack.rewards(theta[None])[:, :, None], discount=discount)
    assert world.moves is not None
    step = np.einsum("as,ad->sd", policy[:, :, 0], world.moves)
    free = np.flatnonzero(~world.terminal)
    y, x = np.divmod(free, columns)
    panel.quiver(
        x, y, step[free, 1], -step[free, 0],
        color="white", pivot="mid", scale=1.5 * columns, width=0.012, headwidth=5,
    )  # fmt: skip
    starts = np.flatnonzero(world.initial == world.initial.max())
    if len(starts) == 1:  # else episodes start anywhere
        start = int(starts[0])
        panel.plot(start % columns, start // columns, "o", color="limegreen", markersize=6)
    for goal in np.flatnonzero(world.goal):
        panel.plot(goal % columns, goal // columns, "*", color="red", markersize=10)
    panel.set_xticks([])
    panel.set_yticks([])
