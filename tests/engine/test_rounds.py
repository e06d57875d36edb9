from dataclasses import replace

import numpy as np
import pytest
from engine.faults import Meddling

from fedirl_ray.config import EvaluationConfig, FederationConfig, IRLConfig, RunConfig
from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.domain.domain import Channel
from fedirl_ray.domain.kinds import domain_of
from fedirl_ray.engine.driver import federate
from fedirl_ray.engine.federation import Federation, sample
from fedirl_ray.engine.local import Clients
from fedirl_ray.engine.result import SPLITS, long_table, sent, stack
from fedirl_ray.engine.round import stage_of
from fedirl_ray.engine.upload import traffic
from fedirl_ray.errors import ConfigError, RunError
from fedirl_ray.fusion.spec import support_of
from fedirl_ray.problem.family import draw_world
from fedirl_ray.report.summary import communication
from fedirl_ray.report.table import full_text

RULES = ("local", "mean", "precision", "barycenter", "pooled")
CONFIG = RunConfig(
    clients=4,
    seeds=1,
    problem=ProblemConfig(size=4, demonstrations=5),
    irl=IRLConfig(optimizer="adam", iterations=5, step=0.1),
    fusion=FusionConfig(rules=RULES),
    evaluation=EvaluationConfig(held_out=2, discounts=()),
)


def run(config, tamper=lambda order, uploads: uploads):
    told = []
    ((_, result),) = federate(config, Meddling(config, tamper), report=told.append)
    return result, told


def federation(**changed):
    return replace(CONFIG, federation=FederationConfig(**changed))


def test_a_refused_client_leaves_the_others_exactly_as_a_run_without_it():
    def spoil(order, uploads):
        ill = uploads[2]._replace(theta=np.full_like(uploads[2].theta, np.nan))
        return [*uploads[:2], ill, *uploads[3:]]

    config = federation(rounds=2)
    with_it, told = run(config, spoil)
    without, _ = run(config, lambda order, uploads: [*uploads[:2], *uploads[3:]])
    for name, ours in vars(with_it).items():
        if name != "seconds":
            assert ours.tobytes() == getattr(without, name).tobytes(), name
    refusals = [event for event in told if event.what == "refused"]
    assert [(event.round, event.clients) for event in refusals] == [(0, (2,)), (1, (2,))]
    assert refusals[0].reason == "theta holds NaN or infinity"
    assert with_it.heard.tolist() == [[True, True, False, True]] * 2


def test_the_fused_mean_is_that_of_the_clients_let_in():
    kept = [0, 3]
    result, _ = run(CONFIG, lambda order, uploads: [uploads[i] for i in kept])
    whole, _ = run(CONFIG)
    mean = np.full(2, 0.5) @ whole.client_theta[kept]
    assert result.theta[RULES.index("mean")].tobytes() == mean.tobytes()


def test_what_needs_no_barycenter_has_converged_in_no_steps():
    result, _ = run(CONFIG)
    others = [place for place, rule in enumerate(RULES) if rule != "barycenter"]
    assert result.barycenter_converged[others].all()
    assert not result.barycenter_iterations[others].any()
    assert result.barycenter_iterations[RULES.index("barycenter")] > 0


def test_a_client_that_never_delivers_has_no_own_reward_and_counts_in_no_mean():
    result, _ = run(CONFIG, lambda order, uploads: uploads[1:])
    local = RULES.index("local")
    assert np.isnan(result.client_theta[0]).all()
    assert np.isnan(result.client_scores[0, local]).all()
    assert not np.isnan(result.client_scores[1:]).any()
    assert not np.isnan(result.held_out_scores).any()
    assert not np.isnan(result.scores("in-distribution")).any()


def test_a_round_without_its_quorum_stops_the_run():
    config = federation(quorum=0.75)
    run(config, lambda order, uploads: uploads[:3])
    with pytest.raises(RunError, match=r"quorum 0.75 needs 3 of 4 uploads in round 0 .* got 2"):
        run(config, lambda order, uploads: uploads[:2])


def test_where_a_seed_stands_is_told_after_every_round_but_the_last():
    told, config = [], federation(rounds=3)
    fleet = Clients(config, range(config.clients))
    list(federate(config, fleet, keep=lambda seed, state: told.append((seed, state.done))))
    assert told == [(0, 1), (0, 2)]


def test_the_largest_curvature_grows_with_the_cube_of_the_horizon():
    def most(steps, **model):
        irl = IRLConfig(l2=0.0, discount=1.0, **model)
        problem = replace(CONFIG.problem, horizon=steps)
        domain = domain_of(replace(CONFIG, problem=problem, irl=irl))
        return stage_of(domain, 0).terms.curvature_bound

    # Over h steps it adds up the squares of sums of h features.
    assert most(20) == pytest.approx(8.0 * most(10))
    assert most(10, temperature=2.0) == pytest.approx(most(10, temperature=1.0) / 2.0)


@pytest.mark.parametrize(
    ("quorum", "needed"), [(0.5, 2), (0.5 + 1e-7, 3), (np.nextafter(0.5, 1.0), 2)]
)
def test_a_quorum_is_rounded_up_but_not_for_what_rounding_adds(quorum, needed):
    config = federation(quorum=quorum)
    run(config, lambda order, uploads: uploads[:needed])
    with pytest.raises(RunError, match=f"needs {needed} of 4 uploads"):
        run(config, lambda order, uploads: uploads[: needed - 1])


@pytest.mark.parametrize("rule", ["mean", "median", "barycenter"])
def test_a_rule_costs_eight_bytes_a_number_each_way(rule):
    assert traffic(rule, 7, FusionConfig()) == (56, 56)


def test_only_precision_sends_a_matrix_and_references_send_nothing():
    assert traffic("precision", 7, FusionConfig()) == (56, 8 * (7 + 49))
    for rule in ("local", "pooled", "expert", "ceiling"):
        assert traffic(rule, 7, FusionConfig()) == (0, 0)


def rule_by_rule(*rules, quorum=0.1, bound=4.0):
    """A run of three rounds in which `arithmetic` sends rewards home that outgrow the bound."""
    return replace(
        CONFIG,
        problem=ProblemConfig(demonstrations=5),
        irl=IRLConfig(optimizer="adam", iterations=20, step=0.05),
        fusion=FusionConfig(rules=rules, mass=300.0),
        federation=FederationConfig(rounds=3, quorum=quorum, norm_bound=bound),
    )


@pytest.mark.parametrize("quorum", [0.1, 1.0])
def test_a_rule_neither_changes_nor_ends_the_others(quorum):
    alone, quiet = run(rule_by_rule("mean", "median", quorum=quorum))
    assert not quiet
    rules = ("arithmetic", "mean", "median")
    beside, told = run(rule_by_rule(*rules, quorum=quorum))
    for rule in ("mean", "median"):
        ours, theirs = ("mean", "median").index(rule), rules.index(rule)
        assert beside.theta[theirs].tobytes() == alone.theta[ours].tobytes()
        assert beside.admitted[:, theirs].tolist() == alone.admitted[:, ours].tolist()
    assert beside.client_theta.tobytes() == alone.client_theta.tobytes()
    assert not beside.admitted[1:, 0].all()  # arithmetic's own federation did suffer
    refused = [event for event in told if event.what == "refused"]
    assert refused
    assert all(event.reason.startswith("for arithmetic: theta has norm") for event in refused)
    assert not any(event.what == "missing" for event in told)
    assert any(event.what == "skipped" for event in told)


def test_a_rule_without_its_quorum_keeps_the_reward_it_had():
    config = rule_by_rule("mean", "arithmetic", quorum=1.0)
    found, told = run(config)
    first, _ = run(replace(config, federation=replace(config.federation, rounds=1)))
    assert found.admitted[1:, 1].sum(axis=1).max() < 4
    assert found.theta[1].tobytes() == first.theta[1].tobytes()
    assert found.measure[1].tobytes() == first.measure[1].tobytes()
    assert found.theta[0].tobytes() != first.theta[0].tobytes()
    skipped = [event for event in told if event.what == "skipped"]
    assert [event.round for event in skipped] == [1, 2]
    assert skipped[0].reason.startswith("arithmetic: federation.quorum 1 needs 4 of 4 uploads, got")


def test_a_rule_that_never_had_its_quorum_has_no_row_and_the_others_have_theirs():
    def bend(order, uploads):
        return [one._replace(hessian=-one.hessian) for one in uploads]

    config = replace(CONFIG, federation=FederationConfig(rounds=2))
    found, told = run(config, bend)
    whole, _ = run(config)
    precision = RULES.index("precision")
    assert np.isnan(found.theta[precision]).all()
    assert np.isnan(found.client_scores[:, precision]).all()
    assert np.isnan(found.held_out_scores[:, precision]).all()
    others = [c for c in range(len(RULES)) if c != precision]
    assert found.theta[others].tobytes() == whole.theta[others].tobytes()
    assert found.held_out_scores[:, others].tobytes() == whole.held_out_scores[:, others].tobytes()
    assert sent("precision", found, domain_of(config)).up == 0
    assert (
        sent("mean", found, domain_of(config)).up == sent("mean", whole, domain_of(config)).up > 0
    )
    reasons = {event.reason for event in told if event.what == "refused"}
    assert reasons == {"for precision: hessian is not positive semi-definite"}
    assert "precision" in full_text(domain_of(config), [found])


def test_a_setting_that_a_later_seed_cannot_bear_fails_that_seed_and_keeps_the_others():
    plain = replace(CONFIG, seeds=4, fusion=FusionConfig(rules=("mean", "arithmetic")))
    needs = []
    for seed, found in federate(plain, Clients(plain, range(4))):
        rewards = found.client_theta @ stage_of(domain_of(plain), seed).support.features.T
        needs.append(-rewards.min())
    worst = int(np.argmax(needs))
    enough = float(np.partition(needs, -2)[-2]) + 1e-6  # for all seeds but one
    config = replace(plain, fusion=replace(plain.fusion, sigma=enough))

    def finish(seeds, done=()):
        left = {*range(4)} - {*seeds}
        return dict(federate(config, Clients(config, range(4)), {*left, *done}))

    others = {*range(4)} - {worst}
    assert set(finish(others)) == others
    with pytest.raises(RunError, match=rf"^seed {worst} cannot be run: fusion.sigma must exceed"):
        finish({worst}, done=others)
    # Where nothing has ended yet, it is the settings' fault, and no seed's.
    with pytest.raises(ConfigError, match=r"^fusion.sigma must exceed"):
        next(
            federate(
                replace(config, fusion=replace(plain.fusion, sigma=1e-9)), Clients(config, range(4))
            )
        )


def test_even_the_smallest_quorum_needs_one_upload():
    with pytest.raises(RunError, match="needs 1 of 4"):
        run(federation(quorum=0.01), lambda order, uploads: [])


def test_a_share_of_the_clients_is_drawn_anew_each_round():
    config = replace(federation(participation=0.3), clients=50)
    drawn = [sample(config, 0, number) for number in range(4)]
    assert all(len(set(clients)) == 15 for clients in drawn)
    assert len(set(drawn)) == 4
    assert drawn[0] == sample(config, 0, 0)
    assert drawn[0] != sample(config, 1, 0)
    assert all(clients == tuple(sorted(clients)) for clients in drawn)


def test_only_the_clients_drawn_are_asked_and_at_least_one():
    result, _ = run(federation(rounds=3, participation=0.01))
    assert result.asked.sum(axis=1).tolist() == [1, 1, 1]
    assert (result.asked == result.heard).all()


def test_later_rounds_start_from_the_broadcast():
    seen = []

    def watch(order, uploads):
        seen.append((order, uploads))
        return uploads

    result, _ = run(federation(rounds=2), watch)
    (first, uploads), (second, later) = seen
    assert (first.fits, first.columns) == (1, 2)  # own, and one for all federations
    assert second.columns == second.fits == 1 + 3  # mean, precision, barycenter
    mean = np.mean([upload.theta[0] for upload in uploads], axis=0)
    np.testing.assert_allclose(second.broadcast[0], mean, rtol=1e-12)
    assert second.own.tobytes() == np.stack([upload.theta[0] for upload in uploads]).tobytes()
    again = np.mean([upload.theta[1] for upload in later], axis=0)
    np.testing.assert_allclose(result.theta[RULES.index("mean")], again, rtol=1e-12)


def test_a_heavy_proximal_term_keeps_clients_at_the_broadcast():
    def spread(config):
        seen = []
        run(config, lambda order, uploads: seen.append((order, uploads)) or uploads)
        order, uploads = seen[-1]
        moved = [upload.theta[1:] - order.broadcast for upload in uploads]
        alone = [upload.theta[0] for upload in uploads]
        return np.abs(moved).max(), np.stack(alone)

    steady = replace(CONFIG, irl=IRLConfig(l2=0.1))
    free, alone = spread(replace(steady, federation=FederationConfig(rounds=2)))
    held, still = spread(replace(steady, federation=FederationConfig(rounds=2, proximal=1e6)))
    assert held < 1e-3 * free
    assert alone.tobytes() == still.tobytes()  # what a client learns alone has nothing to stay near


def test_a_single_round_has_nothing_to_stay_near():
    plain, _ = run(CONFIG)
    pulled, _ = run(federation(proximal=10.0))
    assert plain.theta.tobytes() == pulled.theta.tobytes()


def test_going_on_from_a_kept_round_gives_the_same_bytes():
    config = federation(rounds=4, participation=0.6)
    kept = []
    fleet = Clients(config, range(config.clients))
    ((_, whole),) = federate(config, fleet, keep=lambda seed, state: kept.append(state))
    assert [int(state.done) for state in kept] == [1, 2, 3]
    for state in kept:
        ((_, resumed),) = federate(config, fleet, begun={0: state})
        for name, ours in vars(resumed).items():
            if name != "seconds":
                assert ours.tobytes() == getattr(whole, name).tobytes(), name


def test_bytes_are_counted_by_rule_client_and_round():
    config = federation(rounds=3)
    result, _ = run(config, lambda order, uploads: uploads[1:])
    said = communication(domain_of(config), [result])
    assert said["clients_asked"] == [[4, 4, 4]]
    assert said["uploads_admitted"] == [[3, 3, 3]]
    theta, hessian = 2 * 8, 4 * 8
    assert said["rules"]["mean"] == {
        "bytes_down_per_client_and_round": theta,
        "bytes_up_per_client_and_round": theta,
        "bytes_down": 12 * theta,
        "bytes_up": 9 * theta,
    }
    assert said["rules"]["precision"]["bytes_up"] == 9 * (theta + hessian)
    assert said["rules"]["local"]["bytes_up"] == said["rules"]["local"]["bytes_down"] == 0
    assert said["rules"]["pooled"]["bytes_up"] == 4 * 5 * 24 * 8  # clients, episodes, steps, (s, a)
    rows = [row for row in long_table([result], domain_of(config)) if row.metric == "bytes_up"]
    assert {row.rule: row.value for row in rows}["precision"] == 9 * (theta + hessian)


def test_curvature_is_asked_for_only_where_a_rule_reads_it():
    support = support_of(draw_world(CONFIG.problem, 0, 0, "probe", 0))
    rules = replace(CONFIG, fusion=FusionConfig(rules=("mean", "barycenter")))
    assert Federation.begin(rules, 2, support).order(rules, 0).hessian == ()
    begun = Federation.begin(CONFIG, 3, support)
    assert begun.order(CONFIG, 0).hessian == (1,)  # of the one fit there is
    assert replace(begun, done=np.array(1)).order(CONFIG, 0).hessian == (2,)  # precision's own


def test_a_learning_curve_is_what_shorter_runs_end_with():
    rounds = 3
    config = federation(rounds=rounds, participation=0.75)
    long, _ = run(config)
    assert long.round_scores.shape == (rounds, 2, len(RULES), len(domain_of(config).channels))
    for count in range(1, rounds + 1):
        short, _ = run(federation(rounds=count, participation=0.75))
        ends = [short.scores(split) for split in SPLITS]
        np.testing.assert_array_equal(short.round_scores[-1], ends)
        np.testing.assert_array_equal(long.round_scores[count - 1], ends)
    domain = domain_of(config)
    rows = [row for row in long_table([long], domain) if row.split]
    assert len(rows) == long.round_scores.size
    channel = Channel("soft-matched", "success")
    (one,) = (row for row in rows if row[:-1] == (0, 2, "held-out", "barycenter", *channel))
    column = domain.channels.index(channel)
    assert one.value == long.round_scores[1, 1, RULES.index("barycenter"), column]


def test_rounds_that_are_not_judged_change_nothing_else_and_have_no_curve():
    config = federation(rounds=2)
    judged, _ = run(config)
    sooner = replace(config, evaluation=replace(config.evaluation, by_round=False))
    unjudged, _ = run(sooner)
    for name, array in stack([judged]).items():
        if name != "round_scores":
            np.testing.assert_array_equal(array, stack([unjudged])[name])
    assert np.isnan(unjudged.round_scores[0]).all()
    np.testing.assert_array_equal(unjudged.round_scores[1], judged.round_scores[1])
    rows = long_table([unjudged], domain_of(sooner))
    assert {row.round for row in rows} == {2}
