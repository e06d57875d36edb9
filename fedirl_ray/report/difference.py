"""Paired differences as every table shows them, and the sentences that explain their marks."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from fedirl_ray.evaluate.statistics import FEW, FEWEST_APART, Interval, stand_out
from fedirl_ray.report.wording import counted

STAR, TIED = "*", "="
Key = TypeVar("Key", bound=Hashable)


def with_marks(found: Interval, mean: str, unit: float, digits: int, star: bool) -> str:
    """A mean as it is written, its half width times a unit, and its marks; empty where none is."""
    if np.isnan(found.mean):
        return ""
    if np.isnan(found.half_width):
        return mean
    marks = (STAR if star else "") + (TIED if found.doubt == "tied" else "")
    return f"{mean} ± {unit * found.half_width:.{digits}f}{marks or ' '}"


def bar(found: Interval, unit: float = 1.0) -> float:
    """Half width times a unit, as pictures draw it; NaN, no bar, where no interval stands up."""
    return float("nan") if found.doubt == "tied" else unit * found.half_width


def mark(table: Mapping[Key, Interval], write: Callable[[Interval, bool], str]) -> dict[Key, str]:
    """Write all differences of one table, with a star on those that stand out in it.

    Args:
        table: Every difference that the table shows, by any name.
        write: How one is written, with or without its star.
    """
    stars = stand_out(list(table.values()))
    return {key: write(one, star) for (key, one), star in zip(table.items(), stars, strict=True)}


def legend(
    found: Iterable[Interval], seeds: int | None, levels: Iterable[Interval] = ()
) -> list[str]:
    """What the marks of one table mean, and how its intervals were found; a sentence each.

    Args:
        found: Every difference that the table shows; those with a star are among them.
        seeds: How many they are over; None: not all the same.
        levels: Other means that it shows with an interval.
    """
    differences, others = ([one for one in some if not np.isnan(one.half_width)]
                           for some in (found, levels))  # fmt: skip
    known = [*differences, *others]
    if not known:
        return ["From one seed: no intervals."] if seeds == 1 else []
    said = []
    if differences:
        over = "seeds" if seeds is None else counted(seeds, "seed")
        star = f"; {STAR} excludes zero."
        if len(differences) > 1:
            star = (
                f", each alone; {STAR} stands out among the {len(differences)} of this table "
                "(Holm: where nothing differs, the chance of any star is 5 %)."
            )
        said.append(f"± of a difference: 95 % interval of the paired difference over {over}{star}")
    said += _methods(known)
    if any(one.doubt == "tied" for one in known):
        said.append(
            f"{TIED} fewer than {FEWEST_APART} seeds differ from the others: too few to estimate "
            "an interval from, and the one shown may be far too narrow."
        )
    return said


def _methods(known: Sequence[Interval]) -> list[str]:
    """Which intervals are whose, and what those of few seeds rest on."""
    said = []
    drawn = sum(one.method == "bootstrap" for one in known)
    if drawn:
        said.append(
            f"Intervals are Student's t, {drawn} of {len(known)} a bootstrap's, where seeds are "
            "skewed or mostly equal."
        )
    if any(one.doubt == "few" for one in known):
        said.append(f"With fewer than {FEW} seeds an interval holds only where seeds are normal.")
    return said
