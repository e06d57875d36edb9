"""Choosing between rules: what wins, what ties, who is asked about what, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from fedirl_ray import fuse as fuse_alone
from fedirl_ray.config import EvaluationConfig, RunConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.errors import DataError
from fedirl_ray.fusion.rules import fuse, needs_of
from fedirl_ray.fusion.selection import DISPLACED, NoScoresError
from fedirl_ray.fusion.spec import Given, Support
from fedirl_ray.run import main

N = 7
AXES = (np.arange(float(N)),)
SUPPORT = Support(np.eye(N), AXES)
CANDIDATES = ("mean", "median", "trimmed")


class Asked:
    """Clients whose scores are laid down, and what they were asked."""

    def __init__(self, scores):
        self.scores, self.thetas = np.array(scores, dtype=np.float64), []

    def __call__(self, thetas):
        self.thetas.append(thetas)
        return self.scores


def given(scores, k=3, **changed):
    rng = np.random.default_rng(0)
    score = Asked(scores)
    config = FusionConfig(candidates=CANDIDATES, **changed)
    thetas, weights = rng.normal(size=(k, N)), rng.dirichlet(np.ones(k))
    return Given(thetas, weights, SUPPORT, config, score=score), score


def test_the_best_weighted_mean_wins():
    one, _ = given([[0.0, 1.0, 0.2], [0.0, 1.0, 0.2], [2.0, 0.0, 0.3]])
    weights = np.array([0.3, 0.3, 0.4])  # .8, .6, .24
    found = fuse("select", replace(one, weights=weights))
    assert found.chosen == "mean"
    np.testing.assert_array_equal(found.theta, weights @ one.thetas)
    found = fuse("select", replace(one, weights=np.array([0.4, 0.4, 0.2])))  # .4, .8, .22
    assert found.chosen == "median"


def test_clients_are_asked_about_what_the_candidates_make_of_the_uploads():
    one, asked = given(np.zeros((3, 3)))
    fuse("select", one)
    (thetas,) = asked.thetas
    for theta, name in zip(thetas, CANDIDATES, strict=True):
        np.testing.assert_array_equal(theta, fuse(name, one).theta)


def test_the_first_named_wins_ties():
    assert fuse("select", given(np.ones((3, 3)))[0]).chosen == "mean"


def test_who_did_not_answer_does_not_count():
    scores = np.array([[2.0, 0.0, 0.0], [np.nan] * 3, [0.0, 1.0, 0.0]])
    one, _ = given(scores)
    assert fuse("select", replace(one, weights=np.array([0.3, 0.4, 0.3]))).chosen == "mean"
    with pytest.raises(NoScoresError, match="no client that counts has scored"):
        fuse("select", replace(one, weights=np.array([0.0, 1.0, 0.0])))


def test_left_out_clients_are_asked_about_the_others_alone():
    one, asked = given(np.array([[0.0, 1.0, 0.0]] * 4), k=4, leave_one_out=True)
    found = fuse("select", one)
    (thetas,) = asked.thetas
    assert thetas.shape == (4, 3, N)
    others = np.delete(one.weights, 1)
    np.testing.assert_allclose(
        thetas[1, 0], others @ np.delete(one.thetas, 1, axis=0) / others.sum(), rtol=1e-12
    )
    np.testing.assert_array_equal(found.theta, fuse("median", one).theta)


def test_two_clients_are_too_few_to_leave_one_out():
    one, asked = given(np.zeros((2, 3)), k=2, leave_one_out=True)
    with pytest.raises(NoScoresError, match=r"fusion\.leave-one-out needs 3 clients, got 2"):
        fuse("select", one)
    assert not asked.thetas


def peaks(*places):
    """Clients with a narrow peak each, over a little of what all share."""
    return np.stack([np.exp(-((np.arange(40) - place) ** 2) / 0.5) for place in places])


@pytest.mark.parametrize(
    ("places", "chosen"), [((15, 18, 20, 17), DISPLACED), ((17, 17, 17, 17), "median")]
)
def test_auto_asks_clients_only_where_maps_are_not_displaced(places, chosen):
    thetas = peaks(*places)
    score = Asked([[0.0, 1.0]] * 4)
    config = FusionConfig(candidates=("mean", "median"))
    support = Support(np.eye(40), (np.arange(40.0),))
    one = Given(thetas, np.full(4, 0.25), support, config, score=score)
    found = fuse("auto", one)
    assert found.chosen == chosen
    assert found.displacement.found == (chosen == DISPLACED)
    assert len(score.thetas) == (chosen != DISPLACED)
    np.testing.assert_array_equal(found.theta, fuse(chosen, one).theta)


def test_hidden_points_are_filled_before_maps_are_compared():
    # Two clients see one half each of the same map: what is hidden must not look displaced.
    thetas = np.repeat(peaks(17), 4, axis=0)
    seen = np.ones((4, 40), dtype=bool)
    seen[0, :25], seen[1, 10:] = False, False
    config = FusionConfig(candidates=("mean", "median"))
    support = Support(np.eye(40), (np.arange(40.0),))
    hidden = np.where(seen, thetas, 0.0)
    one = Given(hidden, np.full(4, 0.25), support, config, seen=seen, score=Asked([[1, 0]] * 4))
    found = fuse("auto", one)
    assert found.displacement.peaks_keep == pytest.approx(1.0)
    assert found.chosen == "mean"


def test_needs_are_those_of_the_candidates():
    config = FusionConfig(candidates=("mean", "precision"))
    assert needs_of("select", config) == {"scores", "curvature"}
    assert needs_of("mean", config) == frozenset()


def test_a_function_alone_has_nobody_to_ask_unless_told():
    thetas, config = np.eye(N)[:3], FusionConfig(candidates=("mean", "median"))
    with pytest.raises(DataError, match="score must be given for select, got None"):
        fuse_alone(support=SUPPORT, thetas=thetas, rule="select", config=config)
    found = fuse_alone(
        support=SUPPORT, thetas=thetas, rule="select", config=config, score=Asked([[0, 1]] * 3)
    )
    assert found.chosen == "median"


LAW = (
    "fusion.candidates must be rules that fuse uploads by themselves, no references, neither "
    "select nor auto, and none that asks clients for scores, got"
)
BAD = {
    f"{LAW} local": {"fusion.candidates": "mean,local"},
    f"{LAW} select": {"fusion.candidates": "mean,select"},
    f"{LAW} auto": {"fusion.candidates": "auto"},
    "fusion.candidates must be named once each, got mean": {"fusion.candidates": "mean,mean"},
    "fusion.candidates must be mean, masked-mean, median, trimmed, geometric-median, precision, "
    "blur, register, arithmetic, barycenter, debiased, gibbs, signed, signed-median, self-control, "
    "self-debiased, self-gibbs, self-signed, self-signed-median, self-blur or module:function, got "
    "'mena'; did you mean mean?": {"fusion.candidates": "mena"},
    "fusion.candidates must be module:function that can be imported from here": {
        "fusion.rules": "mean,select", "fusion.candidates": "nowhere:rule"
    },
    "federation.aside must be in (0, 1), got 1.0": {"federation.aside": "1"},
    "federation.aside must be in (0, 1), got 0.0": {"federation.aside": "0"},
    "evaluation.fine-tune-steps must be an integer >= 1": {"evaluation.fine-tune-steps": "0"},
    "evaluation.personal must be one of fusion.rules that fuses, where personal or fine-tuned is "
    "judged, got median": {"fusion.rules": "mean,personal", "evaluation.personal": "median"},
    "evaluation.personal must be one of fusion.rules that fuses, where personal or fine-tuned is "
    "judged, got local": {"fusion.rules": "local,mean,fine-tuned", "evaluation.personal": "local"},
    "demonstrations of client 0 in seed 0 must be at least 2": {
        "fusion.rules": "mean,select", "problem.demonstrations": "1"
    },
    "fusion.rules must be without personal here: it scores rewards by demonstrations kept aside, "
    "which no noise protects": {"fusion.rules": "mean,personal", "privacy.unit": "trajectory"},
    "clients asked in a round must be at least 3 with fusion.leave-one-out, got 2": {
        "clients": "2", "fusion.rules": "mean,select", "fusion.leave-one-out": "True"
    },
}  # fmt: skip


@pytest.mark.parametrize(("said", "settings"), BAD.items(), ids=range(len(BAD)))
def test_bad_settings_are_refused_in_one_line(said, settings, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [word for name, value in settings.items() for word in (f"--{name}", value)]
    assert main([*words, "--engine.backend", "local"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(said)
    assert not list(tmp_path.iterdir())


def test_settings_that_nobody_reads_are_not_held_to_who_would():
    RunConfig(clients=2, fusion=FusionConfig(leave_one_out=True))
    RunConfig(evaluation=EvaluationConfig(personal="median"))


ANSWERS = {
    "score must be a function of rewards, got 3": 3,
    r"score's answer must have shape \(3, 2\), got \(\)": None,
    "score's answer must be numbers, got 'good'": "good",
    r"score's answer must have shape \(3, 2\), got \(3, 3\)": np.zeros((3, 3)),
    r"score's answer must have shape \(3, 2\), got \(2, 2\)": np.zeros((2, 2)),
    r"score's answer must be in \[0, 2\], NaN of clients without an answer, got -1": [[0, -1]] * 3,
    r"score's answer must be in \[0, 2\], NaN of clients without an answer, got inf": [[np.inf, 1]]
    * 3,
}


@pytest.mark.parametrize(("said", "answer"), ANSWERS.items(), ids=range(len(ANSWERS)))
def test_scores_of_ones_own_are_held_to_what_clients_may_say(said, answer):
    score = answer if isinstance(answer, int) else lambda thetas: answer
    config = FusionConfig(candidates=("mean", "median"))
    with pytest.raises(DataError, match=f"^{said}$"):
        fuse_alone(support=SUPPORT, thetas=np.eye(N)[:3], rule="select", config=config, score=score)
