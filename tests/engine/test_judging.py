"""Which rewards are judged where, and at what norm."""

import numpy as np

from fedirl_ray.config import EvaluationConfig, FusionConfig, ProblemConfig, RunConfig
from fedirl_ray.engine.driver import judge_rules
from fedirl_ray.engine.local import Clients

RULES = ("local", "mean", "barycenter", "expert", "median")
RUN = RunConfig(
    clients=3,
    seeds=1,
    problem=ProblemConfig(size=4),
    fusion=FusionConfig(rules=RULES),
    evaluation=EvaluationConfig(held_out=5, discounts=()),
)
THETA = np.array([[9.0, 9.0], [-3.0, 4.0], [-1.0, 0.5], [7.0, 7.0], [0.0, -8.0]])
ALONE = np.array([[-1.0, 0.0], [-0.5, 0.5], [0.0, -1.5]])


class Listening(Clients):
    """Clients that keep what they are asked to judge."""

    def judge(self, seed, role, indices, thetas, matched):
        self.thetas, self.matched = thetas, matched
        return super().judge(seed, role, indices, thetas, matched)


def asked(role, alone=ALONE):
    """Thetas and matched thetas `[w, c, d]` of the rules that learn, and what was found."""
    fleet = Listening(RUN, range(3))
    found = judge_rules(RUN, fleet, 0, role, THETA, alone)
    return fleet.thetas, fleet.matched, found


def test_local_is_each_clients_own_reward_at_home_and_takes_turns_in_held_out_worlds():
    home, _, _ = asked("client")
    np.testing.assert_array_equal(home[:, 0], ALONE)
    away, _, _ = asked("held-out")
    np.testing.assert_array_equal(away[:, 0], ALONE[[0, 1, 2, 0, 1]])
    late = ALONE.copy()
    late[1] = np.nan
    away, _, _ = asked("held-out", late)
    np.testing.assert_array_equal(away[:, 0], ALONE[[0, 2, 0, 2, 0]])


def test_the_other_rules_have_one_reward_everywhere():
    for role in ("client", "held-out"):
        thetas, _, _ = asked(role)
        for place, c in ((1, 1), (2, 2), (3, 4)):
            np.testing.assert_array_equal(
                thetas[:, place], np.broadcast_to(THETA[c], thetas[:, 0].shape)
            )


def test_matched_rewards_have_the_norm_of_the_means_and_their_own_direction():
    for role in ("client", "held-out"):
        thetas, matched, _ = asked(role)
        np.testing.assert_allclose(np.linalg.norm(matched, axis=2), 5.0)
        along = (thetas * matched).sum(axis=2)
        np.testing.assert_allclose(along, 5.0 * np.linalg.norm(thetas, axis=2))


def test_a_rules_row_is_its_own_reward_judged_alone():
    _, _, found = asked("held-out")
    fleet = Clients(RUN, range(3))
    for c in (1, 2, 4):
        theta = np.broadcast_to(THETA[c], (5, 1, 2)).copy()
        matched = theta * (5.0 / np.linalg.norm(THETA[c]))
        alone, references = fleet.judge(0, "held-out", range(5), theta, matched)
        np.testing.assert_array_equal(found.success[:, c], alone.success[:, 0])
        np.testing.assert_array_equal(found.value[:, c], alone.value[:, 0])
    for p in range(found.success.shape[2]):
        np.testing.assert_array_equal(found.success[:, 3, p], references.success[:, 0])
