"""Draw docs/barycenter-*.png from the numbers of `benchmarks.barycenter --json`.

python -m benchmarks.barycenter_plot benchmarks/barycenter.json docs
"""

import json
import re
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt


def main() -> None:
    numbers, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    names, ratios, bars = [], [], []
    for label, entry in numbers.items():
        if "OTT" in label or "POT dense" in label:
            names.append(label.replace(": ", "\n"))
            ratios.append(entry["value"])
            bars.append(float(entry["bar"].removeprefix(">= ")))
    places = range(len(names))
    axes.barh(places, ratios, color=["#386cb0" if "OTT" in n else "#7fc97f" for n in names])
    axes.plot(bars, places, "k|", markersize=14, label="bar")
    axes.set(xscale="log", xlabel="times faster, an iteration on one core")
    axes.set_yticks(places, names, fontsize=6)
    axes.invert_yaxis()
    axes.legend(frameon=False)
    figure.savefig(folder / "barycenter-peers.png", dpi=150)

    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for kind in ("bumps", "noise"):
        points = [
            (float(found[1]), entry["value"])
            for label, entry in numbers.items()
            if (found := re.fullmatch(rf"{kind}, epsilon (.*)", label))
        ]
        axes.plot(*zip(*points, strict=True), "o-", label=kind)
    axes.axhline(350, color="grey", linestyle=":", label="bar at .002")
    axes.set(xscale="log", yscale="log", xlabel="epsilon", ylabel="iterations to 1e-6")
    axes.legend(frameon=False)
    figure.savefig(folder / "barycenter-iterations.png", dpi=150)


if __name__ == "__main__":
    main()
