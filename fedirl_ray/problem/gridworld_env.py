"""The navigation task as a Gymnasium environment, for rollouts, pictures and other learners."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from fedirl_ray.config_problem import ProblemConfig
from fedirl_ray.errors import DataError
from fedirl_ray.problem import gridworld
from fedirl_ray.problem.mdp import Bools, TabularMDP

Picture = NDArray[np.uint8]

_CELL = 32  # side of a drawn cell, in pixels
_PAPER, _LINE, _OBSTACLE = (250, 250, 247), (216, 216, 210), (128, 128, 128)
_START, _GOAL, _AGENT = (76, 175, 80), (211, 47, 47), (25, 118, 210)


class GridWorldEnv(gymnasium.Env[np.int64, np.int64]):
    """One grid-world, the same at every reset; registered as `fedirl_ray/GridWorld-v0`.

    Observations are cells, row x columns + column; actions are left, down, right, up. Chances are
    those of the `TabularMDP`, array for array. A step pays the true reward of the cell it enters,
    once: where an episode ends, the tabular world goes on paying it to the horizon instead.

    Args:
        world: A grid-world as drawn by `gridworld` (or any with two axes of coordinates and a
            reward that ignores the action); None: draw one from the next four.
        size: Side in cells.
        obstacles: Share of cells that are obstacles.
        slip: Probability of moving sideways, exactly this.
        layout_seed: Which layout.
        horizon: Steps after which an episode is truncated; None: 6 x side.
        render_mode: None, "ansi" (text) or "rgb_array" (picture).

    Raises:
        ConfigError: No such world.
        DataError: A world of another kind.
    """

    # Gymnasium declares this on instances, which rules out ClassVar.
    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 8}  # noqa: RUF012

    def __init__(
        self,
        world: TabularMDP | None = None,
        *,
        size: int = 5,
        obstacles: float = 0.25,
        slip: float = 0.1,
        layout_seed: int = 0,
        horizon: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        if world is None:
            config = ProblemConfig(size=size, obstacles=obstacles, slip=slip, layout=0.0)
            stream = np.random.default_rng(layout_seed)
            world = gridworld.world(gridworld.draw_layout(config, stream, stream), slip)
        if [axis.ndim for axis in world.axes] != [1, 1] or world.reward.shape[1] != 1:
            raise DataError("world must have two axes of coordinates and a reward per state alone")
        self.world = world
        self.shape = (len(world.axes[0]), len(world.axes[1]))
        self.horizon = 6 * max(self.shape) if horizon is None else horizon
        states, actions, _, _ = world.shape
        self.observation_space = spaces.Discrete(states)
        self.action_space = spaces.Discrete(actions)
        self.render_mode = render_mode
        self._state = np.int64(world.initial.argmax())
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        """Go back to the start."""
        super().reset(seed=seed)
        self._state = np.int64(self.np_random.choice(len(self.world.initial), p=self.world.initial))
        self._steps = 0
        return self._state, {}

    def step(self, action: np.int64 | int) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        """Move, or slip; returns cell, reward, terminated, truncated, and nothing more."""
        here = self._state, int(action)
        chance = self.world.probabilities[here]
        self._state = np.int64(self.np_random.choice(self.world.successors[here], p=chance))
        self._steps += 1
        reward = float(self.world.reward[self._state, 0])
        terminated = bool(self.world.terminal[self._state])
        return self._state, reward, terminated, self._steps >= self.horizon, {}

    def render(self) -> str | Picture | None:
        """The world as text (A agent, S start, G goal, # obstacle) or as `[height, width, 3]`."""
        match self.render_mode:
            case "ansi":
                return self._text()
            case "rgb_array":
                return self._picture()
            case _:
                return None

    def _text(self) -> str:
        letters = np.full(self.shape, ".")
        letters[self._cells(self.world.initial > 0.0)] = "S"
        letters[self._cells(self.world.terminal)] = "#"
        letters[self._cells(self.world.goal)] = "G"
        letters.flat[self._state] = "A"
        return "\n".join("".join(row) for row in letters) + "\n"

    def _picture(self) -> Picture:
        tiles = np.empty((*self.shape, _CELL, _CELL, 3), dtype=np.uint8)
        tiles[:] = _PAPER
        tiles[self._cells(self.world.terminal & ~self.world.goal)] = _OBSTACLE
        tiles[self._cells(self.world.initial > 0.0)] = _START
        for row, column in np.argwhere(self._cells(self.world.goal)):
            tiles[row, column, _STAR] = _GOAL
        tiles[..., -1, :] = tiles[..., -1, :, :] = _LINE
        tiles[(*divmod(self._state, self.shape[1]), _DISC)] = _AGENT
        height, width = self.shape[0] * _CELL, self.shape[1] * _CELL
        return tiles.transpose(0, 2, 1, 3, 4).reshape(height, width, 3)

    def _cells(self, states: Bools) -> Bools:
        return states.reshape(self.shape)


def _stamps() -> tuple[Bools, Bools]:
    """A five-pointed star and a disc, `[_CELL, _CELL]` each."""
    y, x = np.mgrid[:_CELL, :_CELL] - (_CELL - 1) / 2
    radius = np.hypot(x, y)
    # Angle from the nearest point of the star, folded into one of its ten equal triangles.
    tip = np.abs((np.arctan2(x, -y) + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
    outer, inner, half = 0.46 * _CELL, 0.19 * _CELL, np.pi / 5
    edge = outer * inner * np.sin(half) / (inner * np.sin(half - tip) + outer * np.sin(tip))
    return radius <= edge, radius <= 0.3 * _CELL


_STAR, _DISC = _stamps()
