"""Time and memory over the number of clients: a table, and a picture on two log-log axes."""

import io
from collections.abc import Sequence

from fedirl_ray.evaluate.statistics import Interval
from fedirl_ray.report.measure import SUCCESS, Measure
from fedirl_ray.report.wording import counted
from fedirl_ray.study.memory import MIB
from fedirl_ray.study.stress import GROWS_FROM, Measurement, growth

HEADS = (
    "clients", "start", "worlds", "round", "broadcast", "local", "upload", "door", "fuse",
    "evaluate", "driver", "peak MiB", "B down", "B up",
)  # fmt: skip


def scaling_text(found: Sequence[Measurement], measure: Measure = SUCCESS) -> str:
    """Say what was measured, as text with one row a size."""
    rows = [HEADS, *(_row(one) for one in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    lines += [
        "",
        "Seconds; round and the next five: of one round. broadcast, local, upload: until the actor",
        "that was done last began, its own work, until its answer was here; driver: share of a",
        "round outside the three. peak: PSS of the driver and all it started. B: bytes per client",
        "and round (barycenter or the last rule).",
        "",
        *(_quality(one, measure) for one in found),
    ]
    grown = growth(found)
    if grown is not None:
        lines += [
            "",
            f"From {GROWS_FROM} clients on: slope of log(seconds a round) over log(clients) "
            f"{grown.slope:.2f}; {grown.bytes_per_client / MIB:.3f} MiB a further client.",
        ]
    lines += ["", *(one.actors for one in found)]
    return "\n".join(lines) + "\n"


def _row(one: Measurement) -> tuple[str, ...]:
    rule = "barycenter" if "barycenter" in one.fuse else list(one.fuse)[-1]
    times = (one.start, one.worlds, one.round, one.broadcast, one.local, one.upload, one.door,
             sum(one.fuse.values()), one.evaluate)  # fmt: skip
    return (
        str(one.clients),
        *(f"{seconds:.3f}" for seconds in times),
        f"{100.0 * one.driver_share:.1f} %",
        f"{one.peak / MIB:.0f}",
        str(one.down[rule]),
        str(one.up[rule]),
    )


def _quality(one: Measurement, measure: Measure) -> str:
    unit = f" {measure.unit}" if measure.unit else ""
    said = []
    for rule, level in one.success.items():
        text = f"{rule} {measure.with_half(level)}{unit}"
        if rule != "mean":
            gap = Interval(one.difference[rule], one.half_width[rule])
            text += f" ({measure.difference(gap).strip()} to mean)"
        said.append(text)
    clients = counted(one.clients, "client")
    return f"Held-out {measure.metric}, {clients}: " + ", ".join(said)


def scaling_figure(found: Sequence[Measurement]) -> bytes:
    """Draw seconds and memory over clients.

    Returns:
        A PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    clients = [one.clients for one in found]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
    curves = {
        "start-up, once": [one.start for one in found],
        "round": [one.round for one in found],
        "local": [one.local for one in found],
        "broadcast": [one.broadcast for one in found],
        "upload": [one.upload for one in found],
        "door": [one.door for one in found],
        "fuse": [sum(one.fuse.values()) for one in found],
        "evaluate, a seed": [one.evaluate for one in found],
    }
    for name, seconds in curves.items():
        style = {"linewidth": 2.5, "color": "black"} if name == "round" else {"linewidth": 1.2}
        left.plot(clients, seconds, "o-", markersize=4, label=name, **style)
    first = found[0]
    ideal = [first.round * count / first.clients for count in clients]
    left.plot(clients, ideal, ":", color="gray", label="proportional to clients")
    left.set_ylabel("seconds")
    figure.legend(loc="outside lower center", ncols=4, fontsize=8)
    right.plot(clients, [one.peak / MIB for one in found], "o-", color="black", markersize=4)
    right.set_ylabel("peak memory of all processes, MiB (PSS)")
    for panel in (left, right):
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlabel("clients")
        panel.set_xticks(clients, [str(count) for count in clients])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    low, high = min(one.peak for one in found) / MIB, max(one.peak for one in found) / MIB
    right.set_ylim(0.5 * low, 2.0 * high)
    ticks = [t for p in range(7) for t in (10**p, 2 * 10**p, 5 * 10**p) if low / 2 <= t <= 2 * high]
    right.set_yticks(ticks, [str(tick) for tick in ticks])
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130, format="png")
    plt.close(figure)
    return buffer.getvalue()
