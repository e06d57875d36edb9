"""The page on why a barycenter is nearly the mean: its numbers are computed here."""

import re
from pathlib import Path

import numpy as np
import pytest

from fedirl_ray import barycenter

PAGE = (Path(__file__).parents[2] / "docs" / "why-transport.md").read_text()


def rows():
    """Of its table: contrasts, and how far the barycenter is said to lie off the mean."""
    lines = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
    return list(zip(*([float(cell) for cell in line[1:]] for line in lines), strict=True))


def off_the_mean(kappa):
    s = np.arange(60.0)
    peaks = np.exp(-((s - [[21.5], [37.5]]) ** 2) / (2 * 2.0**2))
    p = 1.0 + kappa * peaks
    p /= p.sum(axis=1, keepdims=True)
    found = barycenter(p, [s], epsilon=2.0, cost_scale="none", debiased=True, tol=1e-10)
    assert found.converged
    mean = p.mean(axis=0)
    return np.abs(found.measure - mean).sum() / np.abs(p - mean).sum(axis=1).mean()


@pytest.mark.parametrize(("kappa", "said"), rows())
def test_the_barycenter_lies_as_far_off_the_mean_as_the_page_says(kappa, said):
    assert round(off_the_mean(kappa), 3) == said


def test_for_small_contrast_it_goes_to_the_mean_in_proportion():
    assert len(rows()) == 5
    np.testing.assert_allclose(off_the_mean(0.02) / off_the_mean(0.01), 2.0, rtol=0.01)


def test_the_page_names_tests_that_are_there():
    for name in set(re.findall(r"`(test_\w+\.py)`", PAGE)):
        assert (Path(__file__).parent / name).is_file()


@pytest.mark.parametrize("tau", [0.0, 0.1, 0.5])
def test_parts_move_no_further_than_the_page_says(tau):
    """|r+ - s+|_1 <= |R - S|_1 + n (1 + 2 tau) |R - S|_inf."""
    from fedirl_ray.fusion.signed import split

    rng = np.random.default_rng(4)
    for scale in (1e-3, 0.1, 3.0):
        one = rng.normal(size=(200, 15))
        other = one + scale * rng.normal(size=one.shape) * (rng.random(one.shape) < 0.3)
        apart = np.abs(one - other)
        bound = apart.sum(axis=1) + 15 * (1 + 2 * tau) * apart.max(axis=1)
        for part in ("peaks", "pits"):
            moved = np.abs(getattr(split(one, tau), part) - getattr(split(other, tau), part))
            assert (moved.sum(axis=1) <= bound * (1 + 1e-12)).all()
