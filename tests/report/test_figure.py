import dataclasses
import io

import numpy as np
import pytest
from learning import RULES, STEPS, Learning
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from fedirl_ray.config import EvaluationConfig, RunConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_privacy import PrivacyConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.driver import federate
from fedirl_ray.engine.local import Clients
from fedirl_ray.evaluate.statistics import interval
from fedirl_ray.privacy.protection import SIMULATED
from fedirl_ray.report.curves import curves_of, draw_curves, legend_of
from fedirl_ray.report.figure import figure_of, reward_maps
from fedirl_ray.report.measure import SUCCESS, Measure


def small(name, **settings):
    config = RunConfig(
        clients=2,
        problem=ProblemConfig(name=name, size=4, demonstrations=3),
        fusion=FusionConfig(rules=("local", "mean", "barycenter", "pooled", "expert")),
        evaluation=EvaluationConfig(held_out=1),
    )
    config = dataclasses.replace(config, **settings)
    _, result = next(federate(config, Clients(config, range(config.clients))))
    return domain_of(config), [result]


@pytest.fixture(scope="module")
def grid():
    return small("GridWorld")


def pixels(png):
    import matplotlib.image

    return matplotlib.image.imread(io.BytesIO(png), format="png")


def test_the_figure_is_a_picture_with_a_panel_for_each_client_and_fusing_rule(grid):
    png = figure_of(*grid)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    height, width, _ = pixels(png).shape
    # Two clients by three rules (pooled and expert are no maps of a client) at 130 dots an inch.
    assert (width, height) == (int(130 * (2.1 * 3 + 0.6)), int(130 * (2.35 * 2 + 0.7)))
    assert np.ptp(pixels(png)[..., :3]) > 0.9


@pytest.mark.parametrize(("noise", "said"), [("seeded", True), ("os", False)])
def test_the_figure_says_where_noise_protects_nobody(grid, monkeypatch, noise, said):
    titles = []
    monkeypatch.setattr(Figure, "suptitle", lambda self, text, **more: titles.append(text))
    domain, results = grid
    private = PrivacyConfig(unit="trajectory", delta=1e-5, noise=noise)
    rules = dataclasses.replace(domain.config.fusion, rules=("local", "mean", "barycenter"))
    config = dataclasses.replace(domain.config, privacy=private, fusion=rules)
    kept = dataclasses.replace(
        results[0],
        theta=results[0].theta[:3],
        client_scores=results[0].client_scores[:, :3],
    )
    reward_maps(config, kept, SUCCESS)
    assert (SIMULATED in titles[0]) is said


def test_the_figure_shows_the_rewards_it_is_given(grid):
    domain, (result,) = grid
    other = dataclasses.replace(result, theta=-result.theta)
    assert not np.array_equal(
        pixels(figure_of(domain, [result])), pixels(figure_of(domain, [other]))
    )


def test_the_figure_is_the_same_each_time(grid):
    assert figure_of(*grid) == figure_of(*grid)


@pytest.mark.parametrize(("name", "marked"), [("GridWorld", True), ("SitesWorld", False)])
def test_the_start_is_marked_where_there_is_one(name, marked):
    green = (pixels(figure_of(*small(name)))[..., :3] == pixels_of("limegreen")).all(axis=2)
    assert green.any() == marked


def pixels_of(colour):
    return np.round(np.array(to_rgb(colour)) * 255).astype(np.float32) / np.float32(255)


@pytest.mark.parametrize("name", ["FrozenLake-v1", "CliffWalking-v1"])
def test_gymnasiums_grids_have_a_figure_too(name):
    assert figure_of(*small(name)).startswith(b"\x89PNG")


def test_worlds_that_are_no_grid_have_none():
    assert figure_of(*small("Taxi-v4")) is None


def test_judges_that_learn_have_their_curves_drawn(learning):
    domain, results = learning
    png = figure_of(domain, results)
    height, width, _ = pixels(png).shape
    assert (width, height) == (int(130 * 4.6 * 2), int(130 * 3.8))  # both splits
    assert png == figure_of(domain, results)
    fewer = [dataclasses.replace(r, held_out_scores=r.held_out_scores * np.nan) for r in results]
    assert pixels(figure_of(domain, fewer)).shape[1] == int(130 * 4.6)


def test_curves_are_means_over_worlds_at_the_steps_of_training(learning):
    domain, results = learning
    scores = np.stack([result.scores("held-out") for result in results])
    plain, matched = curves_of(domain.channels, "return", scores)
    assert (plain.judge, matched.judge) == ("agent", "agent-matched")
    np.testing.assert_array_equal(plain.steps, STEPS)
    worlds = np.stack([result.held_out_scores for result in results])
    np.testing.assert_allclose(plain.values, worlds.mean(axis=1)[:, :, [4, 5, 0]])
    panel = Figure().subplots()
    draw_curves(panel, [plain, matched], domain.config.fusion.rules, Measure("return"))
    strokes = [line.get_linestyle() for line in panel.lines]
    assert {stroke: strokes.count(stroke) for stroke in strokes} == {"-": 8, ":": 4, "--": 8}
    assert len(panel.collections) == 3  # bands of mean, barycenter and true
    band = panel.collections[0].get_paths()[0].vertices[:, 1]
    mean = plain.values[:, RULES.index("mean"), 2]
    assert mean.mean() + interval(mean).half_width == pytest.approx(band.max())


def test_every_curve_is_in_the_legend_and_controls_of_a_kind_once(learning):
    domain, results = learning
    scores = np.stack([result.scores("held-out") for result in results])
    lines = legend_of(curves_of(domain.channels, "return", scores), domain.config.fusion.rules)
    names = [line.get_label() for line in lines]
    assert names == [*RULES[:-2], "random", "by agent-matched"]


def test_other_kinds_of_world_have_no_figure_where_nobody_learns(learning):
    domain, results = Learning(), learning[1]
    domain.channels = tuple(channel._replace(judge=f"{channel.judge}{x}", step=0)
                            for x, channel in enumerate(domain.channels))  # fmt: skip
    assert figure_of(domain, results) is None
