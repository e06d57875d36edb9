"""The theorems, the Gaussians and the traffic, as text."""

from collections.abc import Sequence

import numpy as np

from fedirl_ray.evaluate.statistics import interval
from fedirl_ray.problem.mdp import Floats
from fedirl_ray.report.reproduction.markdown import number, table
from fedirl_ray.study.reproduction.gaussians import EPSILONS
from fedirl_ray.study.reproduction.plan import Plan, Record
from fedirl_ray.study.reproduction.theorems import ENTROPIC, EXACT, exponents, happened, tally

KINDS = (EXACT, *ENTROPIC)


def having(rows: Sequence[Record], **values: object) -> list[Record]:
    """Rows that hold all these values."""
    return [row for row in rows if all(row[name] == value for name, value in values.items())]


def column(rows: Sequence[Record], name: str) -> Floats:
    """One column as numbers."""
    return np.array([row[name] for row in rows], dtype=np.float64)


def theorem_text(rows: Sequence[Record], plan: Plan) -> list[str]:
    """Violations, looseness and exponent of every equation, source and barycenter."""
    lines = []
    for equation in dict.fromkeys(row["equation"] for row in rows):
        for source in dict.fromkeys(row["source"] for row in rows):
            here = having(rows, equation=equation, source=source)
            for kind in KINDS:
                lines.append([_named(equation), source, kind, *_summary(here, equation, kind)])
    head = (
        "inequality",
        "rewards",
        "barycenter",
        "cases",
        "measured > 0",
        "not converged",
        "violations",
        "of them entropy's",
        "bound / measured: median",
        "least",
        "exponent of local error",
    )
    return [
        "Epsilon is in squared cells. A violation counts as entropy's where the exact barycenter "
        "of the same measures keeps the bound. The bounds grow as the local error to the power "
        "1/2 (times what Z does); the exponent of the measured side is fitted along each seed's "
        "series of growing errors, mean ± 95 % interval over seeds, blank where fewer than three "
        "seeds have two measured sides above zero. Ratios leave out measured sides of zero, up to "
        "rounding.",
        "",
        *table(head, lines),
    ]


def _named(equation: str) -> str:
    return f"({equation})" if equation.isdigit() else equation


def _summary(rows: Sequence[Record], equation: str, kind: str) -> list[str]:
    found = tally(rows, equation, kind)
    own = having(rows, barycenter=kind)
    some = happened(own)
    ratio = column(some, "bound") / column(some, "measured")
    slopes = exponents(own)
    return [
        str(found.cases),
        str(len(some)),
        str(sum(not row["converged"] for row in own)),
        str(found.violations),
        str(found.explained) if found.violations else "",
        f"{np.median(ratio):.3g}" if ratio.size else "",
        f"{ratio.min():.3g}" if ratio.size else "",
        number(interval(slopes)) if slopes.size > 2 else "",
    ]


def gaussians_text(rows: Sequence[Record], plan: Plan) -> list[str]:
    """Errors at every epsilon, plain and debiased, mean over draws."""
    lines = []
    for epsilon in EPSILONS:
        for debiased in (False, True):
            own = having(rows, epsilon=epsilon, debiased=debiased)
            done = column(own, "converged")
            lines.append(
                [
                    f"{epsilon:g}",
                    "debiased" if debiased else "plain",
                    f"{column(own, 'mean_error').mean():.1e}",
                    number(interval(column(own, "std_ratio"))),
                    f"{column(own, 'l1').mean():.1e}",
                    f"{np.median(column(own, 'iterations')):.0f}",
                    f"{done.sum():.0f} of {len(own)}",
                ]
            )
    head = ("epsilon", "", "error of the mean", "std / exact std", "L1", "iterations", "converged")
    return [
        "Three Gaussians on 200 points of [0, 1]; epsilon in units of the squared length. The "
        "standard deviation's ratio is a mean ± 95 % interval over draws, iterations a median.",
        "",
        *table(head, lines),
    ]


def communication_text(rows: Sequence[Record], plan: Plan) -> list[str]:
    """Bytes a client and round, counted and pickled."""
    lines = [
        [
            f"{row['features']}, d = {row['dimension']}",
            row["rule"],
            str(row["round"]),
            f"{row['counted_down']} + {row['counted_up']}",
            ""
            if row["rule"] == "pooled"
            else f"{row['pickled_down']:.0f} + {row['pickled_up']:.0f}",
            str(row["rewards_carried"]),
            f"{row['counted_run_down']} + {row['counted_run_up']}",
        ]
        for row in rows
    ]
    head = (
        "features",
        "rule",
        "round",
        "counted, down + up",
        "pickled, down + up",
        "rewards carried",
        "counted, whole run",
    )
    return [
        "Bytes a client and round. Counted: the numbers of a rule that runs alone, as in "
        "summary.json; `pooled` sends all demonstrations once, at most the horizon's steps each, "
        "and no message of this package carries them. Pickled: what this run's messages weigh; "
        "they name run, seed, round, client and attempt, and carry the reward learnt alone, for "
        "the experiment's books, and what is sent: one reward for all rules in the first round, "
        "then one for each.",
        "",
        *table(head, lines),
    ]
