"""Conformance suites for what a user brings along: run on our own, importable for theirs."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from fedirl_ray.config_fusion import FusionConfig
from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.errors import ConfigError, FedirlError
from fedirl_ray.fusion.maps import in_cells
from fedirl_ray.fusion.rules import rule_named
from fedirl_ray.fusion.spec import Fused, Given, RuleSpec, Score, Support, support_of
from fedirl_ray.problem.custom import as_world, load, user_code
from fedirl_ray.problem.family import Role, draw_world
from fedirl_ray.problem.features import as_features
from fedirl_ray.problem.lattice import Axis
from fedirl_ray.problem.mdp import Floats, Stack, TabularMDP
from fedirl_ray.problem.planning import roll_out, surest_policy

CLIENTS = 5
SEEDS = 2
SCALES = (1e-4, 7.0, 1e5)


def check_rule(rule: str | RuleSpec | Callable[[Given], Fused | Floats]) -> None:
    """Check what a fusion rule owes whoever compares it with others.

    It is tried on a few small federations: 1 to 6 clients, two features on a 4x4 grid, on a line,
    and on a lattice of a line, a ring and categories.

    Args:
        rule: A function of `Given`, a `RuleSpec`, or a rule's name as `fusion.rules` takes it.

    Raises:
        AssertionError: It does not keep to it; says in one sentence to what.
        ConfigError: There is no rule of that name.
    """
    if isinstance(rule, str):
        rule = rule_named(rule)
    spec = rule if isinstance(rule, RuleSpec) else RuleSpec(rule)
    grid = support_of(draw_world(ProblemConfig(size=4), 0, 0, "probe", 0))
    line = np.arange(7.0)
    ring, categories = Axis("", 0.0, 1.0, 5, wraps=True).ground, 1.0 - np.eye(2)
    others = [_far((line,)), _far((line[:4], ring, categories))]
    for seed, support in enumerate([*[grid] * SEEDS, *others]):
        given = _federation(seed, support, spec)
        _check_answer(spec, given)
        _check_weights(spec, given)
        _check_agreement(spec, given)
        for scale in SCALES:
            scaled = replace(given, thetas=scale * given.thetas)
            law = "rewards in other units must fuse to the same reward in those units"
            _same(scale * _fused(spec, given).theta, _fused(spec, scaled).theta, law, 1e-7)


def _far(axes: tuple[Floats, ...]) -> Support:
    """A lattice with two features, the distances to its first point and to one in its middle."""
    shape = tuple(len(axis) for axis in axes)
    places = np.unravel_index(np.arange(np.prod(shape)), shape)
    apart = [
        sum(
            in_cells(axis)[place, int(share * len(axis))]
            for axis, place in zip(axes, places, strict=True)
        )
        for share in (0.0, 0.5)
    ]
    return Support(np.sqrt(np.stack(apart, axis=1)), axes)


def _federation(seed: int, support: Support, spec: RuleSpec) -> Given:
    """Random clients, and only what a run would give this rule of them."""
    rng = np.random.default_rng(seed)
    d = support.features.shape[1]
    roots = rng.normal(size=(CLIENTS, d, d))
    thetas = rng.normal(size=(CLIENTS, d))
    return Given(
        thetas=thetas,
        weights=rng.dirichlet(np.ones(CLIENTS)),
        support=support,
        config=FusionConfig(tolerance=1e-12),
        curvatures=roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(d)
        if "curvature" in spec.needs
        else None,
        score=scoring(thetas) if "scores" in spec.needs else None,
    )


def scoring(own: Floats) -> Score:
    """Clients who score a reward by its angle to their own theta, `[k, d]`: 1 + cosine."""

    def score(thetas: Floats) -> Floats:
        each = np.broadcast_to(thetas, (len(own), *thetas.shape[-2:]))
        lengths = np.linalg.norm(own, axis=1)[:, None] * np.linalg.norm(each, axis=2)
        scores: Floats = np.clip(1.0 + np.einsum("kd,kcd->kc", own, each) / lengths, 0.0, 2.0)
        return scores

    return score


def _check_answer(spec: RuleSpec, given: Given) -> None:
    """What comes back is well formed, the same each time, and leaves what was given alone."""
    before = [array.copy() for array in _arrays(given)]
    found = _fused(spec, given)
    changed = [
        name
        for name, array, copy in zip(_NAMES, _arrays(given), before, strict=True)
        if not np.array_equal(array, copy)
    ]
    assert not changed, f"a rule must leave what it is given alone, {', '.join(changed)} changed"
    again = _fused(spec, given)
    assert np.array_equal(found.theta, again.theta), (
        "a rule must be deterministic: asked twice, it gave another theta"
    )
    if found.measure is not None:
        whole = found.measure.min() >= 0.0 and abs(found.measure.sum() - 1.0) <= 1e-9
        assert whole, "a measure must hold no negative number and sum to one"
    n = len(given.support.features)
    seen = np.arange(n) % CLIENTS != np.arange(CLIENTS)[:, None]
    _fused(spec, replace(given, seen=seen))
    for measure in ("shift", "gibbs"):
        for intercept in (False, True):
            config: Any = replace(given.config, measure=measure, intercept=intercept)
            _fused(spec, replace(given, config=config))


def _check_weights(spec: RuleSpec, given: Given) -> None:
    """Clients count by their weights, and by nothing else."""
    plain = _fused(spec, given).theta
    order = np.random.default_rng(0).permutation(CLIENTS)
    _same(plain, _fused(spec, _chosen(given, order)).theta, "the clients' order must not matter")
    mute = _chosen(given, [0, 1, 1, *range(2, CLIENTS)])
    mute.thetas[1], mute.weights[1] = (50.0, -80.0), 0.0
    law = "a client of weight zero must not matter"
    _same(plain, _fused(spec, mute).theta, law)
    twice = _chosen(given, [0, 1, 1, 2])
    twice = replace(twice, weights=np.full(4, 0.25))
    heavy = replace(_chosen(given, [0, 1, 2]), weights=np.array([0.25, 0.5, 0.25]))
    law = "a client that comes twice must count as one of twice the weight"
    _same(_fused(spec, twice).theta, _fused(spec, heavy).theta, law)
    sole = replace(_chosen(given, [0, 1, 2]), weights=np.array([0.0, 1.0, 0.0]))
    alone = replace(_chosen(given, [1]), weights=np.ones(1))
    law = "a client of all the weight must count as one that is alone"
    _same(_fused(spec, alone).theta, _fused(spec, sole).theta, law)


def _check_agreement(spec: RuleSpec, given: Given) -> None:
    """Clients that agree are given back, up to a blur that ends with the setting it comes of."""
    theta = given.thetas[0]
    equal = replace(given, thetas=np.tile(theta, (CLIENTS, 1)))
    law = "clients that agree must be given what they agree on"
    if not (spec.transports or spec.blurs):
        _same(theta, _fused(spec, equal).theta, law, 1e-7)
        return
    setting = "epsilon" if spec.transports else "blur-width"
    for blur, most in ((0.5, 0.3), (0.05, 1e-3)):
        config = replace(given.config, epsilon=blur, gibbs_epsilon=blur, blur_width=blur)
        off = np.linalg.norm(_fused(spec, replace(equal, config=config)).theta - theta)
        near = off <= most * np.linalg.norm(theta)
        assert near, f"{law}, within {most:g} of its length at fusion.{setting} {blur:g}"


_NAMES = ("thetas", "weights", "features", "curvatures")


def _arrays(given: Given) -> list[Floats]:
    curvatures = np.empty(0) if given.curvatures is None else given.curvatures
    return [given.thetas, given.weights, given.support.features, curvatures]


def _chosen(given: Given, who: Any) -> Given:
    """Some of the clients, in some order, as copies."""
    picked: Any = {
        name: None if (array := getattr(given, name)) is None else array[who]
        for name in ("thetas", "weights", "curvatures")
    }
    score = None if given.score is None else scoring(picked["thetas"])
    return replace(given, **picked, score=score)


def _fused(spec: RuleSpec, given: Given) -> Fused:
    """What the rule makes of it, if that is well formed."""
    try:
        return spec(given)
    except ConfigError as err:
        raise AssertionError(str(err).removeprefix("fusion.rules ")) from err


def _same(wanted: Floats, found: Floats, law: str, rtol: float = 1e-6) -> None:
    near = np.abs(found - wanted).max() <= rtol * np.linalg.norm(wanted)
    assert near, f"{law}: {_said(wanted)} became {_said(found)}"


def _said(theta: Floats) -> str:
    return f"({', '.join(f'{x:.6g}' for x in theta)})"


ROLES: tuple[Role, ...] = ("client", "held-out", "probe")
PLACES = 100
"""On a control task's lattice, and as many between its points."""
HORIZON = 200
"""Steps that a goal must be reachable in: what a run gives worlds of the user's own."""


def check_world(world: str | Callable[[str, int, np.random.Generator], object]) -> None:
    """Check what worlds owe whoever federates in them.

    Three of each role are drawn.

    Args:
        world: A function of (role, index, rng), or its name as `problem.name` takes it.

    Raises:
        AssertionError: It does not keep to it; says in one sentence to what.
        ConfigError: There is no function of that name.
    """
    arguments = ("role", "index", "rng")
    function = load(world, "problem.name", arguments) if isinstance(world, str) else world
    wide: int | None = None
    for seed, role in enumerate(ROLES):
        for index in range(3):
            drawn, again = (_drawn_world(function, role, index, seed) for _ in range(2))
            for field in fields(TabularMDP):
                equal = _equal(getattr(drawn, field.name), getattr(again, field.name))
                assert equal, (
                    "a world must be drawn from the given stream alone: asked twice with equal "
                    f"streams for {role} {index}, its {field.name} changed"
                )
            _check_goal(drawn, f"{role} {index}")
            d = drawn.shape[2]
            wide = d if wide is None else wide
            assert d == wide, f"all worlds must have equally many features, got {wide} and {d}"


def _drawn_world(function: Callable[..., object], role: Role, index: int, seed: int) -> TabularMDP:
    rng = np.random.default_rng((seed, index))
    try:
        with user_code(""):
            made = function(role, index, rng)
        return as_world(made, "a world")
    except FedirlError as err:
        said = str(err).removeprefix("problem.name ")
        raise AssertionError(f"{role} {index}: {said}") from err


def _check_goal(world: TabularMDP, which: str) -> None:
    """Somebody can succeed, and not everybody does."""
    stack = Stack([world])
    best = surest_policy(stack, HORIZON)[..., None]
    success = float(roll_out(stack, best, horizon=HORIZON, discount=1.0).success[0, 0])
    assert success > 0.0, f"some policy must reach a goal within {HORIZON} steps, none in {which}"
    live = world.initial[~world.terminal].sum()
    assert live > 0.0, f"episodes must begin before they end, in {which} they begin at their end"


def check_features(
    features: str | Callable[..., object],
    worlds: Sequence[TabularMDP] | None = None,
    *,
    problem: str | None = None,
) -> None:
    """Check what features owe whoever learns a reward of them.

    Args:
        features: A function of a world, or of a control task's states and actions; or its name as
            `problem.features` takes it.
        worlds: To try it in, of one problem; None: some of the 4x4 grid-world.
        problem: The control task to try it in instead, as `problem.name` takes it.

    Raises:
        AssertionError: It does not keep to it; says in one sentence to what.
        ConfigError: There is no function or task of that name.
    """
    if problem is not None:
        _check_on_box(features, problem)
        return
    function = (
        load(features, "problem.features", ("world",)) if isinstance(features, str) else features
    )
    if worlds is None:
        small = ProblemConfig(size=4)
        worlds = [draw_world(small, 0, 0, role, i) for role in ROLES for i in range(2)]
    wide: int | None = None
    for world in worlds:
        before = {field.name: _copied(getattr(world, field.name)) for field in fields(world)}
        found, again = (_features_of(function, world) for _ in range(2))
        changed = [name for name, was in before.items() if not _equal(getattr(world, name), was)]
        assert not changed, f"features must leave the world alone, {', '.join(changed)} changed"
        assert np.array_equal(found, again), (
            "features must be deterministic: asked twice, the function gave others"
        )
        other = replace(world, reward=1.0 - 2.0 * world.reward)
        assert np.array_equal(found, _features_of(function, other)), (
            "features must not depend on the true reward, which no learner sees"
        )
        rows = found.reshape(-1, found.shape[2])
        assert np.ptp(rows, axis=0).any(), (
            "features must differ somewhere, or every reward of them is a constant"
        )
        wide = found.shape[2] if wide is None else wide
        assert found.shape[2] == wide, (
            f"all worlds must have equally many features, got {wide} and {found.shape[2]}"
        )


def _check_on_box(features: str | Callable[..., object], problem: str) -> None:
    """Check features of a control task on points of its lattice, and between them."""
    from fedirl_ray.problem.control.brought import task_named  # Gymnasium takes time to import
    from fedirl_ray.problem.control.own_basis import CALL, OwnBasis

    task = task_named(problem)
    function = load(features, "problem.features", CALL) if isinstance(features, str) else features
    basis = OwnBasis(task.support, len(task.state.axes), "a function", function)
    rng = np.random.default_rng(0)
    low, high = (
        np.array([getattr(axis, side) for axis in task.support.axes]) for side in ("low", "high")
    )
    points = rng.choice(task.support.points, PLACES)
    places = np.concatenate([points, rng.uniform(low, high, (PLACES, len(low)))])
    try:
        found, again, turned = (basis.at(one) for one in (places, places, places[::-1]))
        few = basis.at(places[:3])
    except ConfigError as err:
        raise AssertionError(str(err).removeprefix("problem.features ")) from err
    assert np.array_equal(found, again), (
        "features must be deterministic: asked twice, the function gave others"
    )
    law = "features of a state and an action must not depend on what else is asked for"
    for ours, theirs in ((found[::-1], turned), (found[:3], few)):
        assert ours.shape == theirs.shape, f"{law}, got {ours.shape[1]} and {theirs.shape[1]}"
        assert np.allclose(ours, theirs, rtol=1e-9, atol=1e-12), law
    assert np.ptp(found, axis=0).any(), (
        "features must differ somewhere, or every reward of them is a constant"
    )


def _features_of(function: Callable[[TabularMDP], object], world: TabularMDP) -> Floats:
    try:
        with user_code(""):
            made = function(world)
        return as_features(made, world, "a function")
    except FedirlError as err:
        raise AssertionError(str(err).removeprefix("problem.features ")) from err


def _copied(value: Any) -> Any:
    return tuple(map(np.array, value)) if isinstance(value, tuple) else np.array(value)


def _equal(one: Any, other: Any) -> bool:
    """Whether arrays, tuples of them, or nothing, are the same."""
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(np.array_equal, one, other))
    return bool(np.array_equal(one, other))
