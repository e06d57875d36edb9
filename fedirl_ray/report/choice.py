"""What rules that choose between others have chosen, and why, in words and numbers."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedirl_ray.fusion.displacement import Evidence
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.report.wording import counted, printable

Table = NDArray[np.int64]


def choices_text(
    rules: Sequence[str], names: Sequence[str], chosen: Table, displacement: Floats
) -> list[str]:
    """What to know of choices, a line for each rule that made any.

    Args:
        rules: Columns, `c` of them.
        names: What could be chosen.
        chosen: Places in `names`, `[seeds, r, c]`; -1 where nothing was chosen.
        displacement: `[seeds, r, c, 3]`, see `Evidence`.
    """
    lines = []
    for c, rule in enumerate(rules):
        picks = Counter(names[i] for i in chosen[:, :, c].ravel().tolist() if i >= 0)
        asked = [*_looked(displacement[:, :, c])]
        if not picks:
            continue
        said = ", ".join(f"{printable(name)} {count}" for name, count in picks.most_common())
        if asked:
            verdict = sum(one.found for one in asked)
            j = _median(one.blur_takes for one in asked)
            rho = _median(one.peaks_keep for one in asked)
            are = "are" if 2 * verdict > len(asked) else "are not"
            lines.append(
                f"{rule}: maps {are} displaced: J {_short(j)}, rho {_short(rho)} "
                f"(displaced in {verdict} of {counted(len(asked), 'round')}; medians)."
            )
        lines.append(f"{rule} took, in {counted(sum(picks.values()), 'round')}: {said}.")
    return lines


def choices_told(
    rules: Sequence[str], names: Sequence[str], chosen: Table, displacement: Floats
) -> Mapping[str, Any]:
    """The same by rule, seed and round, for summary.json; arguments as in `choices_text`."""
    told = {}
    for c, rule in enumerate(rules):
        if (chosen[:, :, c] < 0).all():
            continue
        told[rule] = {
            "chosen": [[names[i] if i >= 0 else None for i in seed] for seed in chosen[:, :, c]]
        }
        looked = displacement[:, :, c]
        if not np.isnan(looked).all():
            each = [[Evidence(*map(float, one)) for one in seed] for seed in looked]
            told[rule] |= {
                "displaced": [[one.found if one.looked else None for one in seed] for seed in each],
                "J": [[one.blur_takes for one in seed] for seed in each],
                "J_core": [[one.blur_takes_core for one in seed] for seed in each],
                "rho": [[one.peaks_keep for one in seed] for seed in each],
            }
    return told


def adapted_text(rules: Sequence[str], share: Floats) -> list[str]:
    """What to know of rewards that clients made their own; `[seeds, k]` the own reward's share."""
    lines = []
    if not {"personal", "fine-tuned"}.isdisjoint(rules):
        lines.append("personal, fine-tuned: in the clients' own worlds alone.")
    known = share[~np.isnan(share)]
    if known.size:
        lines.append(f"personal: {100 * known.mean():.0f} % of the own reward on average.")
    return lines


def _looked(displacement: Floats) -> Iterator[Evidence]:
    """Rounds in which maps were looked at, `[seeds, r, 3]`."""
    for seed in displacement:
        for one in seed:
            evidence = Evidence(*map(float, one))
            if evidence.looked:
                yield evidence


def _median(numbers: Iterable[float]) -> float:
    """Of those that there are; NaN of none."""
    known = [one for one in numbers if not np.isnan(one)]
    return float(np.median(known)) if known else np.nan


def _short(number: float) -> str:
    """A number below or near one, in two digits."""
    return "none" if np.isnan(number) else re.sub(r"^(-?)0\.", r"\1.", f"{number:.2f}")
