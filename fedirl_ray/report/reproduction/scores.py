"""What judges say in a long table's rows: numbers by seed, and learning curves.

A row is one number: seed, round, split, rule, judge, metric, step and value, a mean over the
split's worlds (see `engine.result.Row`). Rows here are of one task and of one round. Letters: `e`
seeds, `c` columns, `t` steps of training.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from fedirl_ray.domain.domain import Split
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.report.curves import Curve
from fedirl_ray.study.reproduction.plan import Record


def columns_of(rows: Sequence[Record]) -> list[str]:
    """Rules and references that were judged, in their order."""
    judged = (row["rule"] for row in rows if row["judge"] and not np.isnan(row["value"]))
    return list(dict.fromkeys(judged))


def by_seed(
    rows: Sequence[Record], judge: str, rule: str, split: Split, metric: str = "return"
) -> Floats:
    """What a rule comes to once its judge has learnt all it will, `[e]`.

    Nothing where a seed has none: differences are of all seeds or of no seed.
    """
    wanted = (judge, rule, split, metric)
    values = {
        (row["step"], row["seed"]): row["value"]
        for row in rows
        if (row["judge"], row["rule"], row["split"], row["metric"]) == wanted
    }
    last = max((step for step, _ in values), default=0)
    found = np.array([value for (step, _), value in sorted(values.items()) if step == last])
    return found if np.isfinite(found).all() else np.empty(0)


def samples_of(rows: Sequence[Record], judge: str, split: Split, columns: Sequence[str]) -> Floats:
    """What columns come to, `[e, c]`; NaN of those that were not judged."""
    known = {name: by_seed(rows, judge, name, split) for name in columns}
    nothing = np.full(len({row["seed"] for row in rows}), np.nan)
    return np.stack([one if one.size else nothing for one in known.values()], axis=1)


def curves_of(
    rows: Sequence[Record], split: Split, columns: Sequence[str], metric: str = "return"
) -> list[Curve]:
    """The learning curves of the judges that learn, those of one step included."""
    found = []
    for judge in dict.fromkeys(row["judge"] for row in rows if row["step"] > 0):
        values: Mapping[tuple[int, str, int], float] = {
            (row["seed"], row["rule"], row["step"]): row["value"]
            for row in rows
            if (row["judge"], row["split"], row["metric"]) == (judge, split, metric)
        }
        seeds, steps = sorted({seed for seed, _, _ in values}), sorted({at for _, _, at in values})
        table = [
            [[values.get((seed, name, step), np.nan) for step in steps] for name in columns]
            for seed in seeds
        ]
        if not np.isnan(np.array(table)).all():
            found.append(Curve(judge, np.array(steps, dtype=np.float64), np.array(table)))
    return found
