"""Runs behind docs/results.md, and its tables.

    python -m benchmarks.results runs/results docs/results.md

Runs every setting that has no finished run below the first argument (about half an hour on two
cores for all), then replaces what stands below the page's marker. Each table names the command
that makes its numbers.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

RULES = (
    "local,mean,median,trimmed,precision,arithmetic,barycenter,debiased,self-control,"
    "pooled,expert,ceiling"
)
PAPER = {
    5: ("84.2", "85.1", "90.5", "78.4", "82.6"),
    10: ("80.9", "81.6", "89.1", "76.1", "80.3"),
    20: ("73.7", "73.5", "76.4", "75.3", "81.4"),
}
"""Success in % by side of the grid: in-distribution local, mean, barycenter; held-out mean,
barycenter (the paper's table 1, means)."""

CLIENTS = {5: 3, 10: 10, 20: 20}


MARKER = "<!-- tables: python -m benchmarks.results runs/results docs/results.md -->"


class Setting(NamedTuple):
    """One run: what it changes, on which grid."""

    title: str
    flags: str
    size: int

    @property
    def name(self) -> str:
        """Folder of its run."""
        words = self.flags.replace("--", "").replace(".", "-").split()
        return "-".join([f"{self.size}x{self.size}", *words]) or "default"

    @property
    def arguments(self) -> str:
        """What follows the command."""
        grid = f"--problem.size {self.size} --clients {CLIENTS[self.size]}"
        return f"{grid} --fusion.rules {RULES} {self.flags}".strip()


VARIANTS = [
    ("Well posed (the defaults)", "", (5, 10, 20)),
    ("Underfit: 50 Adam steps", "--irl.optimizer adam --irl.iterations 50", (5, 10, 20)),
    ("One demonstration each, weak L2", "--problem.demonstrations 1 --irl.l2 0.01", (5, 10)),
    ("Weak L2 (0.01)", "--irl.l2 0.01", (5, 10)),
    ("Ground cost scaled to 1", "--fusion.cost-scale max", (5, 10)),
    ("Each client its own sigma", "--fusion.sigma client", (5, 10)),
    ("Least squares with an intercept", "--fusion.intercept True", (5, 10)),
    ("Gibbs measures", "--fusion.measure gibbs", (5, 10)),
    ("Slips in any direction", "--problem.slip-to anywhere", (5, 10)),
]
SETTINGS = [Setting(title, flags, size) for title, flags, sizes in VARIANTS for size in sizes]


def run(setting: Setting, folder: Path) -> None:
    """Run a setting unless its folder holds a finished run."""
    if (folder / "table.txt").is_file():
        return
    command = [sys.executable, "-m", "fedirl_ray.run", *setting.arguments.split()]
    subprocess.run([*command, "--overwrite", "True", "--run-dir", str(folder)], check=True)


def cell(found: dict[str, Any]) -> str:
    """A difference, or a part of one, with its interval, in %."""
    mean = 100 * found["difference" if "difference" in found else "mean"]
    half = found["half_width_95"]
    if half is None:
        return f"{mean:+.1f}"
    star = "*" if abs(mean) > 100 * half else ""
    return f"{mean:+.1f} ± {100 * half:.1f}{star}"


def table(summary: dict[str, Any]) -> list[str]:
    """One run as a markdown table."""
    inside, outside = summary["success"]["in-distribution"], summary["success"]["held-out"]
    names = list(outside)
    first = names[0]
    lines = [
        "| rule | in-dist. % | held-out % | "
        + " | ".join(f"held-out - mean, {name}" for name in names)
        + " |",
        "|---" * (3 + len(names)) + "|",
    ]
    for rule in outside[first]:
        level = [f"{100 * split[first][rule]['mean']:.1f}" for split in (inside, outside)]
        gaps = ["" if rule == "mean" else cell(outside[name][rule]) for name in names]
        lines.append(f"| {rule} | " + " | ".join([*level, *gaps]) + " |")
    gains = summary["gain_of_barycenter"]["held-out"]
    for part in ("normalisation", "blur", "transport"):
        cells = [cell(gains[name][part]) for name in names]
        lines.append(f"| *barycenter's gain: {part}* | | | " + " | ".join(cells) + " |")
    return lines


def headline(found: dict[Setting, dict[str, Any]]) -> list[str]:
    """Ours beside the paper's table 1."""
    lines = [
        "| grid, clients | fit | policy | in-dist. local | in-dist. mean | in-dist. barycenter "
        "| held-out mean | held-out barycenter | held-out difference |",
        "|---" * 9 + "|",
    ]
    for size, numbers in PAPER.items():
        grid = f"{size}x{size}, {CLIENTS[size]}"
        lines.append(f"| {grid} | the paper | not said | " + " | ".join(numbers) + " | |")
        for setting, summary in found.items():
            if setting.size != size or setting.title not in (VARIANTS[0][0], VARIANTS[1][0]):
                continue
            inside, outside = (summary["success"][s] for s in ("in-distribution", "held-out"))
            for policy in outside:
                ours = [inside[policy][rule] for rule in ("local", "mean", "barycenter")]
                ours += [outside[policy][rule] for rule in ("mean", "barycenter")]
                cells = " | ".join(f"{100 * one['mean']:.1f}" for one in ours)
                gap = cell(outside[policy]["barycenter"])
                title = setting.title.split(" (")[0].split(":")[0].lower()
                lines.append(f"| {grid} | {title} | {policy} | {cells} | {gap} |")
    return lines


def main() -> None:
    runs, page = Path(sys.argv[1]), Path(sys.argv[2])
    found = {}
    for setting in SETTINGS:
        run(setting, runs / setting.name)
        found[setting] = json.loads((runs / setting.name / "summary.json").read_text())
    text = ["## Ours beside the paper's table 1", "", *headline(found), ""]
    for setting, summary in found.items():
        text += [
            f"## {setting.title}: {setting.size}x{setting.size}, {CLIENTS[setting.size]} clients",
            "",
            f"`python -m fedirl_ray.run {setting.arguments}`",
            "",
            *table(summary),
            "",
        ]
        odd = summary["clients_with_unachievable_demonstrations"]
        if odd:
            fits = summary["clients"] * len(summary["seeds"])
            text += [f"{odd} of {fits} clients hold demonstrations their model cannot match.", ""]
    written_by_hand = page.read_text().partition(MARKER)[0]
    page.write_text("\n".join([written_by_hand + MARKER, "", *text]))


if __name__ == "__main__":
    main()
