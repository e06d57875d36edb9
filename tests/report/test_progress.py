"""Progress where there is no terminal: lines, neither too many nor too few."""

import logging

import pytest

from fedirl_ray.report.progress import Lines, actors_line, progress_bar


@pytest.fixture
def clock(caplog):
    caplog.set_level(logging.INFO, logger="fedirl_ray")
    return [0.0]


def said(caplog):
    lines = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return lines


def test_what_is_finished_is_told_at_most_once_a_second_and_the_end_always(caplog, clock):
    bar = Lines(lambda: clock[0])
    task = bar.add_task("seeds", total=40)
    for _ in range(40):
        clock[0] += 0.3
        bar.advance(task)
    lines = said(caplog)
    assert lines[0] == "seeds: 4 of 40 (0:00:01)"
    assert lines[-1] == "seeds: 40 of 40 (0:00:12)"
    assert len(lines) == 10


def test_what_takes_long_is_told_once_a_minute(caplog, clock):
    bar = Lines(lambda: clock[0])
    task = bar.add_task("seeds", total=2)
    for step in range(130):
        clock[0] += 1.0
        bar.update(task, description=f"seeds, learn {step} of 130")
    assert said(caplog) == [
        "seeds, learn 59 of 130: 0 of 2 (0:01:00)",
        "seeds, learn 119 of 130: 0 of 2 (0:02:00)",
    ]


def test_actors_are_told_of_while_they_start(caplog, clock):
    bar = Lines(lambda: clock[0])
    started = actors_line(bar)
    for up in range(4):
        clock[0] += 2.0
        started(up, 3)
    assert said(caplog) == ["actors: 1 of 3 (0:00:02)", "actors: 2 of 3 (0:00:04)"]


def test_a_terminal_has_a_bar_and_no_lines(monkeypatch):
    assert isinstance(progress_bar(), Lines)
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes what it writes to for a terminal
    assert not isinstance(progress_bar(), Lines)
    monkeypatch.delenv("FORCE_COLOR")
    assert not isinstance(progress_bar(shown=False), Lines)
