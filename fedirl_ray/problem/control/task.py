"""A control task: its clients' physics, what is seen of them, and the lattice rewards live on.

Client `i` may be any number: the paper's are 0 to 5, those between and beyond are held out.
Letters: `n` rows, `p` state axes, `q` action axes, `o` numbers in an observation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium

from fedirl_ray.problem.control.physics import Physics
from fedirl_ray.problem.lattice import Axis, Lattice, product
from fedirl_ray.problem.mdp import Floats


@dataclass(frozen=True)
class Task:
    """One control task, for all clients."""

    name: str
    environment: Callable[[float], gymnasium.Env[Any, Any]]
    """Client i's Gymnasium environment, without observation noise and time limit."""
    physics: Callable[[float], Physics] | None
    """Client i's dynamics for many states at once; None: only the environment knows them."""
    locate: Callable[[Floats], Floats]
    """Observations `[n, o]` to places in the state lattice's space `[n, p]`."""
    state: Lattice
    """The paper's lattice of states, where it gives one."""
    action: Lattice
    """Actions in [-1, 1]: shares of the most a client can do."""
    discrete: bool
    """Whether only the lattice's actions exist; the environment numbers them in its order."""
    noise: float
    """Standard deviation of client i's observation noise, divided by i."""
    steps: int
    """Most steps in an episode."""
    demonstrated: int
    """Most steps of a demonstration (the paper, appendix B)."""
    expert_return: float
    """Return at which an expert counts as one."""
    reference: str
    """Where that return is from."""
    positions: tuple[int, ...] = ()
    """State axes that are no velocities, whose sensors may be off; none named: all."""

    @property
    def support(self) -> Lattice:
        """The lattice of states x actions, which all clients share."""
        return product(self.state, self.action)


def axes(*rows: tuple[str, float, float, int] | tuple[str, float, float, int, bool]) -> Lattice:
    """A lattice from the numbers of its axes."""
    return Lattice(tuple(Axis(*row) for row in rows))


def choices(name: str, count: int) -> Lattice:
    """Discrete actions in [-1, 1], in the order of their numbers but equally far apart."""
    return Lattice((Axis(name, -1.0, 1.0, count, ordered=False),))
