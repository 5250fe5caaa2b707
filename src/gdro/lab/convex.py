"""`gdro simulate convex`: how fast the worst group's loss comes down, on a convex problem whose
optimum is known.

    gdro simulate convex                      10, 20 and 50 groups, up to 27,000 rounds: two minutes
    gdro simulate convex --groups 10 --seeds 5

The setting of Soma, Gatmiry and Jegelka (arXiv 2212.13669): min over theta in a ball of max_i
L_i(theta), one sample a round. A learner holds q over the groups, draws group i from q and a sample
z of it, and theta takes a gradient step on l(theta; z); the answer is the average theta. Each round
of `hedge` sees one sample of every group instead (m times the samples), and `sagawa` draws groups
evenly and weighs by q (Sagawa et al. 2020, algorithm 1).

The losses are linear, where no method beats the rate 1 / sqrt(T), and the optimum is known in
closed form (`Problem`).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gdro.core.adversaries import Exp3P, Hedge, TsallisInf, softmax
from gdro.core.errors import GDROError
from gdro.core.types import Floats
from gdro.io import to_json, write_atomic

DIMENSION = 8
SHARED, NOISE = 0.6, 0.5
METHODS = ("exp3p", "tsallis_inf", "hedge", "sagawa")


class Problem:
    """m groups, one of them in a direction of its own, so that what is good for most is bad for it.

    l(theta; z) = (1 + <z, theta>) / 2 in [0, 1], theta in the unit ball, z = a_i + noise with |a_i|
    = NOISE = 1/2 and noise of that length along a random axis and sign. a_i = (SHARED e_0 + sqrt(1
    - SHARED^2) u_i) / 2 with unit vectors u_i orthogonal to e_0: -v for group 0, and the others
    close to v. Zero lies in the hull of the u_i, so no theta has a worst loss below that of -e_0,
    whose loss is (1 - SHARED / 2) / 2 in every group. That is the optimum. At even weights the
    gradient leads away from it, towards -v; the best q has nearly half of its mass on group 0.

    Args:
        groups: m, at least 2.
        seed: of the directions.
    """

    value = (1.0 - SHARED / 2.0) / 2.0

    def __init__(self, groups: int, seed: int) -> None:
        rng = np.random.default_rng((seed, groups))
        basis = np.linalg.qr(rng.normal(size=(DIMENSION, DIMENSION)))[0]
        shared, v, rest = basis[0], basis[1], basis[2:]
        u = np.tile(v, (groups, 1))
        u[0] = -v
        tilts = rng.normal(size=((groups - 1) // 2, len(rest))) @ rest
        tilts *= 0.5 / np.linalg.norm(tilts, axis=1, keepdims=True)
        paired = np.concatenate([tilts, -tilts])  # so that the mean of these groups is along v
        u[1 : 1 + len(paired)] = math.sqrt(0.75) * v + paired
        self.centres = 0.5 * (SHARED * shared + math.sqrt(1.0 - SHARED**2) * u)
        self.start = np.asarray(shared, np.float64)

    @property
    def groups(self) -> int:
        """m."""
        return len(self.centres)

    def losses(self, theta: Floats) -> Floats:
        """(m,) exact losses of the groups."""
        return np.asarray(0.5 * (1.0 + self.centres @ theta))

    def gap(self, theta: Floats) -> float:
        """The worst group's loss above the optimum."""
        return float(self.losses(theta).max()) - self.value


def draw_noise(rounds: int, rng: np.random.Generator) -> Floats:
    """(T, DIMENSION) noise of the samples."""
    noise = np.zeros((rounds, DIMENSION))
    noise[np.arange(rounds), rng.integers(DIMENSION, size=rounds)] = NOISE * rng.choice(
        (-1.0, 1.0), rounds
    )
    return noise


def to_ball(theta: Floats) -> Floats:
    """The nearest point of the unit ball."""
    length = math.sqrt(float(theta @ theta))
    return theta if length <= 1.0 else np.asarray(theta / length)


def run(problem: Problem, method: str, rounds: int, seed: int) -> tuple[float, float]:
    """(gap of the averaged theta, the theory's bound on its expectation) after so many rounds.

    Rates are those of the theorems for this T. theta starts at the worst point and steps by D / (G
    sqrt(T)), D = 2 the diameter and G = 1/2 the length of a gradient (for `sagawa`, whose estimates
    carry a factor m, G = m / 2).
    """
    rng = np.random.default_rng((seed, rounds, problem.groups))
    steps = run_sagawa if method == "sagawa" else run_learner
    mean, bound = steps(problem, method, rounds, seed, rng)
    return problem.gap(mean), bound


def run_learner(
    problem: Problem, method: str, rounds: int, seed: int, rng: np.random.Generator
) -> tuple[Floats, float]:
    """The average theta against a learner of the core, and the bound (regret of theta + regret of
    q) / T (27)."""
    groups = problem.groups
    learner: Exp3P | TsallisInf | Hedge
    if method == "exp3p":
        learner = Exp3P(groups, horizon=rounds, seed=seed)
    elif method == "tsallis_inf":
        learner = TsallisInf(groups, seed=seed)
    else:
        learner = Hedge(groups, eta=math.sqrt(8.0 * math.log(groups) / rounds))
    theta, total, step = problem.start, np.zeros(DIMENSION), 4.0 / math.sqrt(rounds)
    for noise in draw_noise(rounds, rng):
        total += theta
        if isinstance(learner, Hedge):  # a sample of every group
            gradient = 0.5 * (learner.probabilities() @ problem.centres + noise)
            learner.update(0.5 * (1.0 + problem.centres @ theta + float(noise @ theta)))
        else:  # the gains are told for every group, and the learner reads that of the drawn one
            z = problem.centres[learner.draw()] + noise
            gradient = 0.5 * z
            learner.update(np.full(groups, 0.5 * (1.0 + float(z @ theta))))
        theta = to_ball(theta - step * gradient)
    return total / rounds, 1.0 / math.sqrt(rounds) + learner.regret_bound(rounds) / rounds


def run_sagawa(
    problem: Problem, method: str, rounds: int, seed: int, rng: np.random.Generator
) -> tuple[Floats, float]:
    """The average theta of group DRO's own update: a group drawn evenly, q_g <- q_g exp(eta l),
    theta moved by q_g times the gradient; with its authors' bound, 2 m sqrt(10 (D^2 G^2 + M^2 log
    m) / T)."""
    groups = problem.groups
    theta, total, score = problem.start, np.zeros(DIMENSION), np.zeros(groups)
    step = 4.0 / (groups * math.sqrt(rounds))
    eta = math.sqrt(2.0 * math.log(groups) / rounds) / groups
    drawn = rng.integers(groups, size=rounds).tolist()
    for g, noise in zip(drawn, draw_noise(rounds, rng), strict=True):
        total += theta
        z = problem.centres[g] + noise
        score[g] += eta * groups * 0.5 * (1.0 + float(z @ theta))
        theta = to_ball(theta - step * groups * float(softmax(score)[g]) * 0.5 * z)
    return total / rounds, 2.0 * groups * math.sqrt(10.0 * (1.0 + math.log(groups)) / rounds)


def slope(rounds: Sequence[int], gaps: Sequence[float], start: float) -> float:
    """The exponent of T in a least-squares line through (log T, log gap), over the numbers of
    rounds after which less than half of the gap at the start is left: before, theta is still on its
    way. NaN where that is fewer than two."""
    points = [
        (math.log(t), math.log(max(gap, 1e-12)))
        for t, gap in zip(rounds, gaps, strict=True)
        if gap < start / 2
    ]
    if len(points) < 2:
        return math.nan
    x, y = np.array(points).T
    return float(np.polyfit(x, y, 1)[0])


@dataclass(frozen=True)
class Settings:
    """What is simulated."""

    groups: tuple[int, ...] = (10, 20, 50)
    rounds: tuple[int, ...] = (1000, 3000, 9000, 27000)
    seeds: int = 3
    methods: tuple[str, ...] = METHODS


def simulate_convex(settings: Settings) -> dict[str, Any]:
    """Gaps by number of groups and method: (seeds, rounds) each, with the fitted slope and the
    bound."""
    record: dict[str, Any] = {"settings": asdict(settings), "curves": []}
    for groups in settings.groups:
        problems = [Problem(groups, seed) for seed in range(settings.seeds)]
        for method in settings.methods:
            found = [
                [run(p, method, rounds, seed) for rounds in settings.rounds]
                for seed, p in enumerate(problems)
            ]
            gaps = np.array(found)[:, :, 0]
            record["curves"].append(
                {
                    "groups": groups,
                    "method": method,
                    "gaps": gaps.tolist(),
                    "bounds": [bound for _, bound in found[0]],
                    "slope": slope(
                        settings.rounds,
                        gaps.mean(axis=0).tolist(),
                        problems[0].gap(problems[0].start),
                    ),
                }
            )
            print(
                f"{groups:4} groups  {method:12} slope {record['curves'][-1]['slope']:+.2f}",
                flush=True,
            )
    return record


def markdown(record: dict[str, Any]) -> str:
    """One row for each number of groups and method."""
    rounds = record["settings"]["rounds"]
    head = ["m", "method", *(f"T = {t:,}" for t in rounds), "slope", f"bound at T = {rounds[-1]:,}"]
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "---:|" * (len(head) - 2)]
    for curve in record["curves"]:
        means = np.mean(curve["gaps"], axis=0)
        cells = [str(curve["groups"]), curve["method"], *(f"{gap:.4f}" for gap in means)]
        lines.append(
            "| "
            + " | ".join([*cells, _number(curve["slope"]), f"{curve['bounds'][-1]:.2f}"])
            + " |"
        )
    seeds = record["settings"]["seeds"]
    lines.append(
        f"\nGap of the averaged theta, mean of {seeds} seeds. `hedge` sees m samples a round, the"
        " others one."
    )
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return f"{value:+.2f}" if math.isfinite(value) else "–"


def draw_figure(record: dict[str, Any], path: Path) -> None:
    """Gap against T, one panel for each number of groups; bounds dashed.

    Raises:
        ImportError: matplotlib is missing (it comes with the extra gdro[trl]).
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    sizes, rounds = record["settings"]["groups"], record["settings"]["rounds"]
    with mpl.rc_context(
        {
            "svg.hashsalt": "gdro",
            "font.size": 8,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    ):
        figure = Figure(figsize=(3.6 * len(sizes), 3.4), layout="constrained")
        panels = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
        for curve in record["curves"]:
            panel, gaps = panels[list(sizes).index(curve["groups"])], np.array(curve["gaps"])
            colour = f"C{METHODS.index(curve['method'])}"
            panel.loglog(rounds, gaps.mean(axis=0), "o-", ms=3, color=colour, label=curve["method"])
            panel.fill_between(
                rounds, gaps.min(axis=0), gaps.max(axis=0), color=colour, alpha=0.15, lw=0
            )
            panel.loglog(rounds, curve["bounds"], "--", lw=0.8, color=colour)
            panel.annotate(
                _number(curve["slope"]),
                (rounds[-1], gaps.mean(axis=0)[-1]),
                color=colour,
                fontsize=7,
            )
        for panel, groups in zip(panels, sizes, strict=True):
            panel.set_title(f"{groups} groups")
            panel.set_xlabel("rounds T")
        panels[0].set_ylabel("worst group's loss above the optimum")
        handles, labels = panels[0].get_legend_handles_labels()
        title = "dashed: bounds; numbers: fitted slopes"
        figure.legend(
            handles, labels, loc="outside lower center", ncols=4, frameon=False, title=title
        )
        figure.savefig(path, format="svg", metadata={"Date": None})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Raises:
        GDROError: an argument is out of range.
    """
    chosen = _parser().parse_args(arguments)
    settings = Settings(
        tuple(chosen.groups), tuple(sorted(set(chosen.rounds))), chosen.seeds, tuple(chosen.methods)
    )
    if (
        min(settings.groups) < 2
        or min(settings.rounds) < 10
        or len(settings.rounds) < 2
        or settings.seeds < 1
    ):
        raise GDROError(
            "gdro simulate convex: 2 groups, 2 different numbers of 10 or more rounds and 1 seed at"
            " least"
        )
    record, output = simulate_convex(settings), Path(chosen.output)
    output.mkdir(parents=True, exist_ok=True)
    write_atomic(output / "results.json", to_json(record) + "\n")
    write_atomic(output / "table.md", markdown(record))
    draw_figure(record, output / "figure.svg")
    print(f"\n{markdown(record)}\nwritten to {output}")
    return 0


def _parser() -> argparse.ArgumentParser:
    default = Settings()
    parser = argparse.ArgumentParser(
        prog="gdro simulate convex",
        description="Worst-group gap against rounds on a convex problem.",
    )
    parser.add_argument(
        "--groups",
        nargs="+",
        type=int,
        default=default.groups,
        metavar="M",
        help="numbers of groups",
    )
    parser.add_argument(
        "--rounds",
        nargs="+",
        type=int,
        default=default.rounds,
        metavar="T",
        help="numbers of rounds",
    )
    parser.add_argument(
        "--seeds", type=int, default=default.seeds, metavar="N", help="seeds of problem and run"
    )
    parser.add_argument(
        "--methods", nargs="+", default=METHODS, choices=METHODS, help="learners (default: all)"
    )
    parser.add_argument(
        "--output", default="runs/convex", metavar="FOLDER", help="where to write (runs/convex)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
