import numpy as np
import pytest
from actors import make

from fedirl_ray.errors import ConfigError, DataError
from fedirl_ray.problem.control.demonstrations import (
    FIELDS,
    demonstrate,
    from_minari,
    load_episodes,
    save_episodes,
    to_minari,
)
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
    same(episodes, load_episodes(tmp_path / "shown.npz", task))


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "shown.npz"
    np.savez(path, actions=np.zeros((2, 3, 1)))
    with pytest.raises(DataError, match="does not hold episodes"):
        load_episodes(path, PENDULUM)
    path.write_bytes(b"no zip at all")
    with pytest.raises(DataError, match="does not hold episodes"):
        load_episodes(path, PENDULUM)


def test_episodes_that_are_not_finite_are_refused(shown, tmp_path):
    task, episodes = shown
    episodes.observations[0, 0, 0] = np.nan
    save_episodes(tmp_path / "shown.npz", episodes)
    with pytest.raises(DataError, match="must be finite"):
        load_episodes(tmp_path / "shown.npz", task)


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
    with pytest.raises(ConfigError, match=r"learner\.data must be a local Minari data set") as said:
        from_minari(PENDULUM, 0.0, "nobodys/data-v0")
    assert "\n" not in str(said.value)


def test_a_data_set_of_another_task_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    episodes = demonstrate(PENDULUM, 0.0, make(PENDULUM), 2, stream(1, "shown"))
    to_minari(PENDULUM, 0.0, episodes, "shown/pendulum-v1")
    with pytest.raises(DataError, match="actions must be numbers below 2"):
        from_minari(CARTPOLE, 0.0, "shown/pendulum-v1")
