import warnings
from dataclasses import replace

import numpy as np
import pytest
from actors import make
from gymnasium.spaces import Box, Dict, Discrete, Text

from fedirl_ray.errors import ConfigError, DataError
from fedirl_ray.problem.control.demonstrations import (
    FIELDS,
    check_target,
    demonstrate,
    load_episodes,
    read_episodes,
    save_episodes,
)
from fedirl_ray.problem.control.minari_sets import from_minari, to_minari
from fedirl_ray.problem.control.paper import CARTPOLE, PENDULUM
from fedirl_ray.seeds import stream


def same(one, other, slack=0.0):
    for name in FIELDS:
        assert getattr(other, name) == pytest.approx(getattr(one, name), abs=slack)


@pytest.fixture(params=[PENDULUM, CARTPOLE], ids=lambda task: task.name)
def shown(request):
    task = request.param
    return task, demonstrate(task, 2.0, make(task), 6, stream(0, "shown"))


def test_demonstrations_are_as_many_and_as_long_as_asked(shown):
    task, episodes = shown
    assert len(episodes.lengths) == 6
    assert episodes.lengths.max() <= task.demonstrated
    same(episodes, demonstrate(task, 2.0, make(task), 6, stream(0, "shown")))


def test_episodes_survive_a_file(shown, tmp_path):
    task, episodes = shown
    save_episodes(tmp_path / "shown.npz", episodes)
    same(episodes, load_episodes(tmp_path / "shown.npz", task, 2.0))


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "shown.npz"
    np.savez(path, actions=np.zeros((2, 3, 1)))
    with pytest.raises(DataError, match=r"^problem\..*shown\.npz must hold .*; missing obs"):
        load_episodes(path, PENDULUM, 0.0)
    path.write_bytes(b"no zip at all")
    with pytest.raises(DataError, match=r"must be a readable \.npz of plain arrays"):
        load_episodes(path, PENDULUM, 0.0)


@pytest.mark.parametrize(
    ("field", "spoil", "said"),
    [
        ("observations", lambda x: x[:, :, 1:], "are of shape"),
        ("observations", lambda x: x[:, :-1], "do not fit together"),
        ("observations", lambda x: x * np.nan, "observations must be finite"),
        ("actions", lambda x: x + 2.0, r"actions must be in \[-1, 1\]"),
        ("actions", lambda x: np.repeat(x, 2, axis=2), "action axes, got 2"),
        ("actions", lambda x: x[:0], "holds no episodes"),
        ("last", lambda x: x[:, 1:], "are of shape"),
        ("last", lambda x: x.astype(np.int64), "last must be finite floats"),
        ("lengths", lambda x: x[1:], "do not fit together"),
        ("lengths", lambda x: x * 0, "lengths must be between 1 and"),
        ("lengths", lambda x: x.astype(np.float64), "lengths must be integers"),
        ("terminated", lambda x: x.astype(np.float64), "terminated booleans"),
        ("returns", lambda x: x[1:], "do not fit together"),
        ("returns", lambda x: x * np.nan, "returns must be finite floats"),
        ("observations", lambda x: 0.0 * x, "episode [0-9]"),
        ("observations", lambda x: x[:, ::-1], "episode [0-9]"),
        ("observations", lambda x: x[::-1], "episode [0-9]"),
        ("last", lambda x: x + 30.0, "episode 0, step [0-9]+: "),
    ],
)
def test_episodes_nobody_can_have_had_are_refused(shown, tmp_path, field, spoil, said):
    task, episodes = shown
    save_episodes(
        tmp_path / "shown.npz", replace(episodes, **{field: spoil(vars(episodes)[field])})
    )
    with pytest.raises(DataError, match=said):
        load_episodes(tmp_path / "shown.npz", task, 2.0)


def test_pickled_arrays_are_refused(tmp_path):
    path = tmp_path / "shown.npz"
    whole = dict.fromkeys(FIELDS, np.array([{}], dtype=object))
    np.savez(path, allow_pickle=True, **whole)
    with pytest.raises(DataError, match=r"must be a readable \.npz of plain arrays"):
        load_episodes(path, PENDULUM, 0.0)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("shown.npz", "a name with {client} in it"),
        ("nowhere/{client}.npz", "in a folder that exists"),
        ("{client}.npz", "what does not exist yet"),
    ],
)
def test_places_that_cannot_be_written_to_are_known_before(target, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "1.npz").touch()
    with pytest.raises(ConfigError, match=said):
        check_target(2, target)
    check_target(1, "{client}.npz")


def test_a_minari_data_set_gives_the_same_episodes_back(shown, tmp_path, monkeypatch):
    task, episodes = shown
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    name = f"shown/{task.name.lower().partition('-')[0]}-v0"
    to_minari(task, 2.0, episodes, name)
    same(episodes, from_minari(task, 2.0, name), slack=1e-5)  # observations are single precision
    with pytest.raises(ConfigError, match="cannot be written"):
        to_minari(task, 2.0, episodes, name)


def test_what_minari_does_not_have_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with pytest.raises(
        ConfigError, match=r"problem\.demonstrations-file must be a local Minari data set"
    ) as said:
        from_minari(PENDULUM, 0.0, "nobodys/data-v0")
    assert "\n" not in str(said.value)


def test_a_data_set_of_another_task_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    episodes = demonstrate(PENDULUM, 0.0, make(PENDULUM), 2, stream(1, "shown"))
    to_minari(PENDULUM, 0.0, episodes, "shown/pendulum-v1")
    with pytest.raises(DataError, match=r"observations of CartPole-v1 are Box.*, got Box.*\(3,\)"):
        from_minari(CARTPOLE, 0.0, "shown/pendulum-v1")


def write_set(name, observed, acted, seen, acts, terminations=None):
    """A Minari data set of one episode."""
    import minari

    length = len(acts)
    ended = np.arange(length) == length - 1
    episode = minari.data_collector.EpisodeBuffer(
        id=0,
        observations=seen,
        actions=acts,
        rewards=[0.0] * length,
        terminations=(ended if terminations is None else terminations).tolist(),
        truncations=[False] * length,
        infos={},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        minari.create_dataset_from_buffers(
            name, [episode], observation_space=observed, action_space=acted
        )


POLE = Box(-np.inf, np.inf, (4,), np.float32)
LEFT = np.zeros(3, dtype=np.int64)


@pytest.mark.parametrize(
    ("observed", "acted", "seen", "acts", "said"),
    [
        (
            Dict(x=POLE),
            Discrete(2),
            {"x": np.zeros((4, 4), np.float32)},
            LEFT,
            r"observations of CartPole-v1 are Box.*, got Dict\('x': Box",
        ),
        (Discrete(5), Discrete(2), np.zeros(4, np.int64), LEFT, r"are Box.*, got Discrete\(5\)"),
        (
            Box(0, 255, (8, 8, 3), np.uint8),
            Discrete(2),
            np.zeros((4, 8, 8, 3), np.uint8),
            LEFT,
            r"are Box.*, got Box\(0, 255, \(8, 8, 3\), uint8\)",
        ),
        (Text(9), Discrete(2), ["a", "b", "c", "d"], LEFT, r"are Box.*, got Text\(1, 9"),
        (
            POLE,
            Discrete(3),
            np.zeros((4, 4), np.float32),
            LEFT,
            r"actions of CartPole-v1 are Discrete\(2\), got Discrete\(3\)",
        ),
        (
            POLE,
            Discrete(2, start=1),
            np.zeros((4, 4), np.float32),
            LEFT + 1,
            r"are Discrete\(2\), got Discrete\(2, start=1\)",
        ),
        (
            POLE,
            Box(-1, 1, (1,), np.float32),
            np.zeros((4, 4), np.float32),
            np.zeros((3, 1), np.float32),
            r"actions of CartPole-v1 are Discrete\(2\), got Box",
        ),
    ],
    ids=["dict", "discrete", "image", "text", "other count", "other start", "continuous"],
)
def test_minari_sets_of_other_spaces_are_one_line(
    tmp_path, monkeypatch, observed, acted, seen, acts, said
):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    write_set("odd/set-v0", observed, acted, seen, acts)
    with pytest.raises(DataError, match=said) as error:
        read_episodes(CARTPOLE, 0.0, "odd/set-v0")
    text = str(error.value)
    assert text.startswith("problem.demonstrations-file odd/set-v0: ")
    assert "\n" not in text
    assert len(text) < 250


def test_a_damaged_minari_set_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    to_minari(
        PENDULUM, 0.0, demonstrate(PENDULUM, 0.0, make(PENDULUM), 1, stream(1)), "shown/hung-v0"
    )
    (data,) = tmp_path.rglob("*.hdf5")
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(
        (ConfigError, DataError), match=r"problem\.demonstrations-file .*shown/hung-v0"
    ) as error:
        read_episodes(PENDULUM, 0.0, "shown/hung-v0")
    assert "\n" not in str(error.value)


def test_impossible_steps_of_a_minari_set_are_refused_too(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    shown = demonstrate(PENDULUM, 0.0, make(PENDULUM), 2, stream(1, "shown"))
    to_minari(PENDULUM, 0.0, replace(shown, observations=shown.observations[::-1]), "shown/hung-v1")
    with pytest.raises(DataError, match=r"^problem\.demonstrations-file shown/hung-v1, episode 0"):
        read_episodes(PENDULUM, 0.0, "shown/hung-v1")


def test_discrete_actions_between_the_lattices_are_refused(tmp_path):
    shown = demonstrate(CARTPOLE, 0.0, make(CARTPOLE), 2, stream(1, "shown"))
    actions = shown.actions.copy()
    actions[1, 2] = 0.5
    save_episodes(tmp_path / "0.npz", replace(shown, actions=actions))
    with pytest.raises(DataError, match=r"CartPole-v1.s actions must be among -1, 1$"):
        read_episodes(CARTPOLE, 0.0, str(tmp_path / "{client}.npz"))
