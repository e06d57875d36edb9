"""Clients that score rewards: what it costs, who is heard, and that it changes no byte where."""

import itertools
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from engine.faults import outcome

from fedirl_ray.config import EvaluationConfig, FederationConfig, RunConfig
from fedirl_ray.config_engine import EngineConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_problem import HeterogeneityConfig, ProblemConfig
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.client import RayFleet
from fedirl_ray.engine.door import REASON, tally
from fedirl_ray.engine.driver import federate
from fedirl_ray.engine.event import ignore
from fedirl_ray.engine.federation import Federation
from fedirl_ray.engine.local import Clients
from fedirl_ray.engine.polling import Pollster
from fedirl_ray.engine.result import sent
from fedirl_ray.engine.upload import Answer, Ballot, Key, Poll, traffic
from fedirl_ray.errors import ConfigError
from fedirl_ray.fusion.selection import choices
from fedirl_ray.fusion.spec import Support
from fedirl_ray.report.summary import summary
from fedirl_ray.report.table import full_text

CANDIDATES = ("mean", "median", "barycenter")
RULES = ("local", "mean", "select", "auto", "barycenter")
MEAN, SELECT, AUTO = 1, 2, 3
K, C, D, ROUNDS = 4, 3, 16, 2


def config(**changed):
    """Four clients in a small grid, two rounds, features that tell places apart."""
    base = RunConfig(
        clients=K,
        seeds=1,
        problem=ProblemConfig(size=4, demonstrations=10, features="one-hot"),
        fusion=FusionConfig(rules=RULES, candidates=CANDIDATES),
        evaluation=EvaluationConfig(held_out=2, discounts=(), by_round=False),
        federation=FederationConfig(rounds=ROUNDS),
    )
    return replace(base, **changed)


def found_by(run, fleet=None, told=None):
    told = [] if told is None else told
    fleet = fleet or Clients(run, range(run.clients))
    ((_, result),) = federate(run, fleet, report=told.append)
    return result


@pytest.fixture(scope="module")
def plain():
    return found_by(config())


def test_every_round_says_whose_answer_was_taken(plain):
    chosen = plain.chosen
    assert chosen.shape == (ROUNDS, len(RULES))
    assert (chosen[:, [0, MEAN, 4]] == -1).all()
    assert ((chosen[:, SELECT] >= 0) & (chosen[:, SELECT] < C)).all()
    assert np.isfinite(plain.displacement[:, AUTO]).all()
    assert np.isnan(plain.displacement[:, SELECT]).all()


def test_what_scoring_moves_is_counted_to_the_byte(plain):
    domain = domain_of(config())
    polls = 8 * K * ROUNDS * C
    thetas = 8 * K * ROUNDS * D
    assert sent("mean", plain, domain) == (thetas, thetas)
    assert sent("select", plain, domain) == (thetas + polls * D, thetas + polls)
    asked = plain.asked_scores[:, AUTO].sum()
    assert sent("auto", plain, domain) == (thetas + 8 * asked * D, thetas + 8 * asked)
    each = traffic("select", D, config().fusion)
    assert each == (8 * (D + C * D), 8 * (D + C))
    assert traffic("auto", D, config().fusion) == each


def test_tables_and_summary_tell_what_was_chosen_and_what_it_cost(plain):
    domain = domain_of(config())
    text, told = full_text(domain, [plain]), summary(domain, [plain])
    assert "select took, in 2 rounds: " in text
    assert "auto: maps are " in text
    assert f"select {8 * (D + C * D)} + {8 * (D + C)}" in text
    names = choices(config().fusion)
    picks = [names[i] for i in plain.chosen[:, SELECT]]
    assert told["choices"]["select"] == {"chosen": [picks]}
    auto = told["choices"]["auto"]
    np.testing.assert_array_equal(auto["J"][0], plain.displacement[:, AUTO, 0])
    np.testing.assert_array_equal(auto["rho"][0], plain.displacement[:, AUTO, 2])
    assert told["communication"]["rules"]["select"]["bytes_up"] == 8 * K * ROUNDS * (D + C)


def test_a_run_in_which_nobody_scores_tells_of_no_choices():
    few = config(fusion=FusionConfig(rules=("mean",)))
    result = found_by(few)
    assert not result.asked_scores.any()
    assert "choices" not in summary(domain_of(few), [result])


def test_the_mean_is_that_of_fewer_demonstrations(plain):
    alone = found_by(config(fusion=FusionConfig(rules=("mean",))))
    assert alone.theta[0].tobytes() != plain.theta[MEAN].tobytes()
    fewer = config(federation=FederationConfig(rounds=ROUNDS, aside=0.1))
    assert found_by(fewer).theta[MEAN].tobytes() != plain.theta[MEAN].tobytes()


class Rigged(Clients):
    """Clients whose ballots are tampered with on the way."""

    def __init__(self, run, tamper):
        super().__init__(run, range(run.clients))
        self.tamper, self.polls = tamper, []

    def score(self, poll):
        self.polls.append(poll)
        return [one._replace(uploads=self.tamper(poll, one.uploads)) for one in super().score(poll)]


def test_the_candidate_that_all_prefer_is_taken():
    for wanted in range(C):

        def prefer(poll, ballots, wanted=wanted):
            return [one._replace(scores=np.eye(C)[wanted]) for one in ballots]

        run = config()
        rigged = Rigged(run, prefer)
        result = found_by(run, rigged)
        assert (result.chosen[:, SELECT] == wanted).all()
        name = CANDIDATES[wanted]
        if name in RULES:  # its federation went the same way
            other = result.theta[RULES.index(name)]
            np.testing.assert_array_equal(result.theta[SELECT], other)


def without_last(poll, ballots):
    return ballots[:-1]


def spoilt_last(poll, ballots):
    return [*ballots[:-1], ballots[-1]._replace(scores=np.full(C, 3.0))]


def test_a_bad_ballot_is_refused_and_the_others_decide_as_without_it():
    run, told = config(), []
    spoilt = found_by(run, Rigged(run, spoilt_last), told)
    without = found_by(run, Rigged(run, without_last))
    for name, value in vars(spoilt).items():
        if name != "seconds":
            assert value.tobytes() == getattr(without, name).tobytes()
    refused = [one for one in told if one.what == "refused"]
    assert {one.clients for one in refused} == {(K - 1,)}
    assert refused[0].reason == "scores: scores are not within 0 and 2"
    polls = (spoilt.asked_scores > 0).any(axis=2).sum()
    assert len(refused) == polls >= ROUNDS
    assert [one.reason for one in told if one.what == "missing"].count("no scores were let in") == (
        len(refused)
    )
    assert (spoilt.scores_heard[:, SELECT, -1] == 0).all()
    assert (spoilt.asked_scores[:, SELECT, -1] == C).all()


def test_below_the_quorum_a_rule_keeps_the_reward_it_had():
    run, told = config(), []

    def late(poll, ballots):
        return ballots[:1] if poll.round == 1 else ballots

    result = found_by(run, Rigged(run, late), told)
    assert result.chosen[0, SELECT] >= 0
    assert result.chosen[1, SELECT] == -1
    said = [one.reason for one in told if one.what == "skipped"]
    assert said[0] == (
        "select: federation.quorum 0.5 needs the scores of 2 of 4 clients, got those of 1; it "
        "keeps the reward it had"
    )
    first = found_by(config(federation=FederationConfig(rounds=1)))
    assert result.theta[SELECT].tobytes() == first.theta[SELECT].tobytes()


def test_who_lies_about_rewards_lies_about_scores():
    liars = HeterogeneityConfig(adversaries=0.25)
    honest, lying = [], []

    def watch(into):
        def keep(poll, ballots):
            into.append(np.stack([one.scores for one in ballots]))
            return ballots

        return keep

    # The same candidates for both: those of the run with liars.
    run = config(heterogeneity=liars, federation=FederationConfig(rounds=1))
    rigged = Rigged(run, watch(lying))
    found_by(run, rigged)
    poll = rigged.polls[0]
    without = Rigged(config(federation=FederationConfig(rounds=1)), watch(honest))
    without.score(replace(poll, run="any"))
    changed = np.flatnonzero((honest[0] != lying[0]).any(axis=1))
    assert len(changed) == 1
    np.testing.assert_allclose(lying[0][changed], 2.0 - honest[0][changed], rtol=1e-15)
    noisy = config(
        heterogeneity=replace(liars, attack="noise"), federation=FederationConfig(rounds=1)
    )
    (answer,) = Clients(noisy, range(K)).score(poll)
    said = np.stack([one.scores for one in answer.uploads])
    assert np.flatnonzero((said != honest[0]).any(axis=1)).tolist() == changed.tolist()
    assert said.min() >= 0.0
    assert said.max() <= 2.0


POLL = Poll("run", 3, 1, 2, (0, 2, 5), np.zeros((1, C, D)), attempt=1)


def ballot(client, **changed):
    return Ballot(POLL.key(client), 2, np.linspace(0.0, 2.0, C))._replace(**changed)


BAD = {
    "NaN": (ballot(2, scores=np.array([np.nan, 1.0, 1.0])), "scores are not within 0 and 2"),
    "infinity": (ballot(2, scores=np.array([np.inf, 1.0, 1.0])), "scores are not within 0 and 2"),
    "below": (ballot(2, scores=np.array([-1e-9, 1.0, 1.0])), "scores are not within 0 and 2"),
    "above": (ballot(2, scores=np.array([0.0, 1.0, 2.1])), "scores are not within 0 and 2"),
    "shape": (ballot(2, scores=np.ones(4)), "scores has shape (4,), not (3,)"),
    "float32": (ballot(2, scores=np.ones(3, np.float32)), "scores has dtype float32, not float64"),
    "list": (ballot(2, scores=[1.0] * 3), "scores is not an array but a list"),
    "large": (ballot(2, scores=np.ones(300)), "oversized: scores takes 2400 bytes, at most 192"),
    "other poll": (ballot(2, number=1), "not of poll 2 of the round"),
    "no poll": (ballot(2, number=True), "not of poll 2 of the round"),
    "other run": (ballot(2, key=POLL.key(2)._replace(run="x")), "of another run ('x')"),
    "late": (ballot(2, key=POLL.key(2)._replace(attempt=0)), "late: for seed 3, round 1"),
    "not asked": (ballot(2, key=POLL.key(1)), "this client was not asked"),
    "an upload": (17, "not a ballot but a int"),
    "no key": (ballot(2, key=None), "key is not a key but a NoneType"),
}  # fmt: skip


@pytest.mark.parametrize(("bad", "reason"), BAD.values(), ids=BAD.keys())
def test_a_bad_ballot_is_named_and_changes_nothing_for_the_others(bad, reason):
    answers = [Answer(POLL, [ballot(0), bad, ballot(5)], 0.0, 0.0)]
    found = tally(answers, POLL)
    assert np.isnan(found.scores[1]).all()
    np.testing.assert_array_equal(found.scores[[0, 2]], [np.linspace(0.0, 2.0, C)] * 2)
    (refusal,) = found.refused
    assert refusal.reason.startswith(reason)
    assert len(refusal.reason) <= REASON


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_only_finite_rewards_are_scored(number):
    few = config(fusion=FusionConfig(rules=("mean",)))
    order = Federation.begin(few, 1, Support(np.eye(D), (np.arange(D),))).order(few, 0)
    asked = Pollster(few, Clients(few, range(K)), order, itertools.count(), range(K), ignore)
    with pytest.raises(ConfigError, match="c >= 1, scored, got NaN or infinity"):
        asked(np.array([[number] * D]))


def test_one_actor_cannot_vote_for_the_clients_of_another():
    mine, theirs = POLL.part([0, 2]), POLL.part([5])
    answers = [
        Answer(mine, [ballot(0), ballot(5, scores=np.zeros(C))], 0.0, 0.0),
        Answer(theirs, [ballot(5)], 0.0, 0.0),
    ]
    found = tally(answers, POLL)
    np.testing.assert_array_equal(found.scores[2], np.linspace(0.0, 2.0, C))
    assert found.refused == ((5, "this client was not asked"),)
    assert np.isnan(found.scores[1]).all()


def test_a_part_of_a_poll_holds_what_its_clients_are_asked():
    own = np.arange(3 * C * D, dtype=np.float64).reshape(3, C, D)
    part = replace(POLL, thetas=own).part([5, 0])
    assert part.clients == (0, 5)
    np.testing.assert_array_equal(part.thetas, own[[0, 2]])
    assert POLL.part([5]).thetas is POLL.thetas  # all are asked about the same
    assert part.key(5) == Key("run", 3, 1, 5, 1)


@pytest.mark.parametrize(("actors", "leave"), [(1, False), (4, True)])
def test_clients_choose_the_same_wherever_they_are(ray_session, actors, leave):
    fusion = replace(config().fusion, leave_one_out=leave)
    run = config(fusion=fusion, engine=EngineConfig(clients_per_actor=K // actors))
    here, _ = outcome(run, Clients(run, range(K)))
    with RayFleet(run) as fleet:
        assert len(fleet.placement.blocks) == actors
        there, told = outcome(run, fleet)
    assert there == here
    assert not told


def mortal(attempts):
    """Holders of clients that die when the third is to score in the second round.

    A class made here travels to the actors by value: they cannot import the tests.
    """

    class Mortal(Clients):
        def score(self, poll):
            if poll.round == 1 and 2 in poll.clients and poll.attempt < attempts:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().score(poll)

    return Mortal


def test_actors_killed_while_they_score_change_nothing(ray_session):
    run = config(engine=EngineConfig(clients_per_actor=2))
    here, _ = outcome(run, Clients(run, range(K)))
    told = []
    with RayFleet(run, told.append, holder=mortal(attempts=1)) as fleet:
        found, _ = outcome(run, fleet)
    assert found == here
    restarted = [one for one in told if one.what == "restarted"]
    assert restarted
    (block,) = {one.clients for one in restarted}
    assert 2 in block


def test_who_never_scores_is_left_out_and_named(ray_session):
    run = config(
        engine=EngineConfig(clients_per_actor=2),
        fusion=FusionConfig(rules=("mean", "select"), candidates=CANDIDATES),
    )

    def halved(poll, ballots):
        return [one for one in ballots if one.key.client not in lost or poll.round == 0]

    told = []
    with RayFleet(run, holder=mortal(attempts=99)) as fleet:
        (lost,) = [tuple(block) for block in fleet.placement.blocks if 2 in block]
        found = found_by(run, fleet, told)
    here = found_by(run, Rigged(run, halved))
    assert found.chosen.tobytes() == here.chosen.tobytes()
    assert found.theta.tobytes() == here.theta.tobytes()
    missing = [(one.round, one.clients) for one in told if one.what == "missing"]
    assert missing == [(1, lost)]
