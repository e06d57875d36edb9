"""Settings of the worlds and of the clients' data, and the dials that make clients unlike."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from fedirl_ray.laws import (
    names_function,
    require,
    require_discount_or_one,
    require_level,
    require_positive,
    require_share,
)

Features = Literal["distance", "rbf", "one-hot"]


@dataclass(frozen=True, kw_only=True)
class ProblemConfig:
    """The worlds, and the data each client holds."""

    name: str = "GridWorld"
    """GridWorld, SitesWorld, FrozenLake-v1, CliffWalking-v1, Taxi-v4; continuous control:
    Pendulum-v1, CartPole-v1, Acrobot-v1, LunarLanderContinuous-v3; or module:function of your own
    (docs/own-world.md)."""
    size: int = 5
    """Side of the grid in cells; FrozenLake: 4 and 8 start from Gymnasium's own maps."""
    obstacles: float = 0.25
    """Share of cells that are obstacles (GridWorld), holes (generated FrozenLake maps), further
    cliff (CliffWalking, times layout)."""
    layout: float = 1.0
    """How far layouts differ between clients: 0 all alike, 1 every obstacle placed anew."""
    slip: float = 0.1
    """Each world's chance of slipping sideways is drawn from U(0, slip)."""
    slip_to: Literal["sideways", "anywhere"] = "sideways"
    """Where a slip leads: to the two moves perpendicular to the intended, or to any other."""
    goal: Literal["corner", "centre"] = "corner"
    """GridWorld: the goal all worlds share, opposite to the start or in the middle."""
    goal_shift: float = 0.0
    """GridWorld: how far clients' goals stray from it: 0 nowhere, 1 anywhere within half the
    grid's side (uniform over the free cells in reach); held-out worlds keep the shared goal."""
    sites: int = 4
    """SitesWorld: places on open ground that end the episode, goals and hazards together; at least
    3.5 cells apart and 4 from the border (on maps below 16 x 16 less, in proportion)."""
    goals: int = 1
    """SitesWorld: how many of the sites are goals; the others are hazards."""
    site_radius: float = 1.05
    """SitesWorld: how far a site reaches, in cells; the cell nearest to it is always its own."""
    frame_shift: float = 0.0
    """SitesWorld: each client's map is moved as a whole, by U(-shift, shift) cells along each axis.
    As with the next three dials, held-out worlds are not displaced, and no site may leave the
    map."""
    frame_turn: float = 0.0
    """SitesWorld: each client's map is turned about its middle, by U(-turn, turn) degrees."""
    frame_scale: float = 0.0
    """SitesWorld: each client's map is stretched about its middle, by U(-scale, scale) percent."""
    site_shift: float = 0.0
    """SitesWorld: each client's sites are moved, every one alone, by U(-shift, shift) cells along
    each axis."""
    features: Features | str = "distance"
    """distance: the problem's own (to the goal and to the nearest obstacle; Taxi: the way left, and
    whether the passenger waits or is aboard);
    rbf: Gaussian bumps over the support; one-hot: one for each state. The latter two are the same
    for all clients and see positions only; or module:function of your own
    (docs/own-features.md)."""
    rbf_centres: int = 8
    """Bumps along each axis (8 x 8 = the paper's 64), at most one a point; categories: one each."""
    rbf_width: float = 0.7
    """Standard deviation of a bump, in distances between neighbouring centres; wider ones overlap
    until theta cannot be told from the reward (the paper's kappa: 11 at .7, 276 at 1)."""
    horizon: int | None = None
    """Steps in an episode; None: 6 x size on square grids (SitesWorld: 3 x size), 100 for
    CliffWalking, else 200."""
    demonstrations: int = 50
    """Expert episodes each client holds."""
    demonstrations_file: Path | None = None
    """Your own demonstrations instead (.npz with client, states, actions; see README). Clients then
    keep the worlds of the first seed, in which every step must be possible."""
    expert_temperature: float = 0.0
    """0: the expert acts optimally; above: softly, with this temperature."""
    expert_discount: float = 0.99
    """Discount the expert plans with, in (0, 1]; 1: none, where good policies reach an end."""

    def __post_init__(self) -> None:
        """Check every limit."""
        require(self.size >= 2, "problem.size", "an integer >= 2", self.size)
        require_share("problem.obstacles", self.obstacles)
        require_share("problem.layout", self.layout)
        require_share("problem.slip", self.slip)
        horizon = self.horizon
        require(horizon is None or horizon >= 1, "problem.horizon", ">= 1 or None", horizon)
        require(self.demonstrations >= 1, "problem.demonstrations", ">= 1", self.demonstrations)
        require_level("problem.expert-temperature", self.expert_temperature)
        require_discount_or_one("problem.expert-discount", self.expert_discount)
        require_share("problem.goal-shift", self.goal_shift)
        require(self.sites >= 1, "problem.sites", "an integer >= 1", self.sites)
        law = f"an integer from 1 to problem.sites, {self.sites}"
        require(1 <= self.goals <= self.sites, "problem.goals", law, self.goals)
        require_level("problem.site-radius", self.site_radius)
        require_level("problem.frame-shift", self.frame_shift)
        require_level("problem.frame-turn", self.frame_turn, 180.0)
        require_level("problem.frame-scale", self.frame_scale, 99.0)
        require_level("problem.site-shift", self.site_shift)
        centres = self.rbf_centres
        require(centres >= 2, "problem.rbf-centres", "an integer >= 2", centres)
        require_positive("problem.rbf-width", self.rbf_width)
        named = self.features in get_args(Features) or names_function(self.features)
        law = f"{', '.join(get_args(Features))} or module:function"
        require(named, "problem.features", law, repr(self.features))


@dataclass(frozen=True, kw_only=True)
class HeterogeneityConfig:
    """How unlike the clients are, beyond their worlds: each dial 0 (alike) to 1.

    More dials shape the worlds themselves and live with them: `problem.layout`, `problem.slip`,
    `problem.goal-shift`; where maps are displaced `problem.frame-shift`, `frame-turn`,
    `frame-scale` and `site-shift`, and in control tasks `control.sensor-offset`. What a dial draws
    for a client depends on the root seed, the seed and the client alone: the draws are nested, so
    that turning a dial up only adds.
    """

    demonstrations: float = 0.0
    """0: every client holds problem.demonstrations episodes; d: a share of them drawn from
    U(1 - d, 1), at least one."""
    weak_clients: float = 0.0
    """Share of clients whose fit stops early, after a number of iterations drawn uniformly from
    1 to irl.iterations - 1 (the paper's section 6.3; meant for irl.optimizer adam, since lbfgs
    mostly converges sooner)."""
    expert_temperature: float = 0.0
    """0: all experts act at problem.expert-temperature; d: a client's expert at U(0, 5 d) more, in
    units of reward a step (at 5 two in five reach the goal of a 5x5 grid)."""
    coverage: float = 0.0
    """Chance of an episode to start not where the world does but in one state of the client's own,
    uniform over those that can reach the goal; 1: all episodes do. The client's learner knows."""
    hidden_support: float = 0.0
    """Share of the shared support a client cannot see: the points farthest from one drawn
    uniformly, up to all but one. Its reward is known on the rest alone. Rules on parameters get
    the theta fitted to the points seen (least squares, shortest); rules on maps and measures get,
    at points hidden, the weighted mean of the clients that see the point, and where none does the
    client's own mean over what it sees. Self controls hide nothing."""
    adversaries: float = 0.0
    """Share of clients that upload something else than they learnt; see attack."""
    attack: Literal["flip", "scale", "noise"] = "flip"
    """What adversaries upload: -theta, 100 theta, or a random direction of theta's length; asked to
    score rewards, 2 less the score, or anything."""

    def __post_init__(self) -> None:
        """Check every limit."""
        for name in (
            "demonstrations",
            "weak_clients",
            "expert_temperature",
            "coverage",
            "hidden_support",
            "adversaries",
        ):
            require_share(f"heterogeneity.{name.replace('_', '-')}", getattr(self, name))
