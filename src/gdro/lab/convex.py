"""`gdro simulate convex`: how fast the worst group's loss comes down, on a convex problem whose
optimum is known.

    gdro simulate convex                      10, 20 and 50 groups, up to 81,000 rounds: two minutes
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

from gdro.core.adversaries import Exp3P, Hedge, TsallisInf
from gdro.core.errors import GDROError
from gdro.core.types import Floats, Ints
from gdro.io import to_json, write_atomic
from gdro.lab.convex_report import draw_figure, markdown

DIMENSION = 8
SHARED, NOISE = 0.6, 0.5
METHODS = ("exp3p", "tsallis_inf", "hedge", "sagawa")


class ConvexProblem:
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


@dataclass(frozen=True)
class Draws:
    """What is random in S runs of T rounds: (T, S) axis and shift of the sample's noise, and the
    uniform number that draws its group. Each run's own, whichever others there are."""

    axis: Ints
    shift: Floats
    point: Floats


def draw_samples(rounds: int, groups: int, seeds: Sequence[int]) -> Draws:
    """One column a seed."""
    rngs = [np.random.default_rng((seed, rounds, groups)) for seed in seeds]
    return Draws(
        np.stack([rng.integers(DIMENSION, size=rounds) for rng in rngs], axis=1),
        np.stack([NOISE * rng.choice((-1.0, 1.0), rounds) for rng in rngs], axis=1),
        np.stack([rng.random(rounds) for rng in rngs], axis=1),
    )


def to_ball(theta: Floats) -> Floats:
    """(S, DIMENSION) the nearest points of the unit ball."""
    lengths = np.sqrt((theta * theta).sum(axis=1, keepdims=True))
    return np.asarray(theta / np.maximum(lengths, 1.0))


class Learners:
    """A learner of the core in S runs at once: (S, m) sums of what it has been told. A round costs
    little more for sixteen runs than for one; tests/lab/test_convex.py holds each to the core's.

    Args:
        learner: whose rates and bound these are.
        runs: S.
    """

    def __init__(self, learner: Exp3P | TsallisInf | Hedge, runs: int) -> None:
        self.learner, self.sums = learner, np.zeros((runs, learner.bins))
        self._rows, self._root = np.arange(runs), np.full((runs, 1), -1.0)
        self._rounds = 0

    def probabilities(self) -> Floats:
        """(S, m) q of the next round."""
        above = self.sums - self.sums.max(axis=1, keepdims=True)
        if isinstance(self.learner, TsallisInf):
            return self._tsallis(-above, 2.0 / math.sqrt(self._rounds + 1))
        assert self.learner.eta is not None
        q = np.exp(self.learner.eta * above)
        q *= (1.0 - self.learner.gamma) / q.sum(axis=1, keepdims=True)
        return np.asarray(q + self.learner.gamma / self.learner.bins)

    def learn(self, gains: Floats) -> None:
        """Take in (S, m) gains of every group."""
        self._rounds += 1
        self.sums += gains

    def learn_drawn(self, gains: Floats, drawn: Ints, q: Floats) -> None:
        """Take in (S,) gains of the groups that were drawn from q."""
        self._rounds += 1
        at = self._rows, drawn
        if isinstance(self.learner, Exp3P):
            self.sums += self.learner.bias / q
            self.sums[at] += gains / q[at]
        else:
            self.sums[at] -= (1.0 - gains) / q[at]

    def _tsallis(self, above: Floats, rate: float) -> Floats:
        """`core.adversaries.tsallis_weights` by rows. The root moves little from round to round, so
        Newton's method begins at the last one; it passes the new one at most once, to the right,
        where it is held at -2 / rate."""
        x = np.minimum(self._root, -2.0 / rate)
        for _ in range(100):
            q = 4.0 / (rate * (above - x)) ** 2
            excess = q.sum(axis=1, keepdims=True) - 1.0
            near = np.abs(excess) < 1e-12  # by rows, so that no run depends on another
            if near.all():
                break
            next_x = x - excess / (rate * (q**1.5).sum(axis=1, keepdims=True))
            x = np.where(near, x, np.minimum(next_x, -2.0 / rate))
        self._root = x
        return np.asarray(q / q.sum(axis=1, keepdims=True))


def run(
    problems: Sequence[ConvexProblem], method: str, rounds: int, seeds: Sequence[int]
) -> tuple[Floats, float]:
    """(S,) gaps of the averaged theta, one run for each problem and seed, and the theory's bound:
    with probability .9 for `exp3p`, in expectation for the others (`tsallis_inf`: with the
    pseudo-regret of q).

    Rates are those of the theorems for this T. theta starts at the worst point and steps by D / (G
    sqrt(T)), D = 2 the diameter and G = 1/2 the length of a gradient (for `sagawa`, whose estimates
    carry a factor m, G = m / 2).
    """
    groups = problems[0].groups
    samples = draw_samples(rounds, groups, seeds)
    steps = run_sagawa if method == "sagawa" else run_learner
    means, bound = steps(problems, method, samples)
    return np.array([p.gap(mean) for p, mean in zip(problems, means, strict=True)]), bound


def run_learner(
    problems: Sequence[ConvexProblem], method: str, samples: Draws
) -> tuple[Floats, float]:
    """(S, DIMENSION) average theta against a learner of the core, and the bound (regret of theta +
    regret of q) / T (27)."""
    (rounds, runs), groups = samples.axis.shape, problems[0].groups
    learner: Exp3P | TsallisInf | Hedge
    if method == "exp3p":
        learner = Exp3P(groups, horizon=rounds)
    elif method == "tsallis_inf":
        learner = TsallisInf(groups)
    else:
        learner = Hedge(groups, eta=math.sqrt(8.0 * math.log(groups) / rounds))
    players, rows, step = Learners(learner, runs), np.arange(runs), 4.0 / math.sqrt(rounds)
    centres = np.stack([problem.centres for problem in problems])
    theta = np.stack([problem.start for problem in problems])
    total = np.zeros_like(theta)
    for axis, shift, point in zip(samples.axis, samples.shift, samples.point, strict=True):
        total += theta
        q = players.probabilities()
        if method == "hedge":  # a sample of every group
            z, noise = (q[:, None] @ centres)[:, 0], shift * theta[rows, axis]
            players.learn(0.5 * (1.0 + (centres @ theta[:, :, None])[:, :, 0] + noise[:, None]))
            z[rows, axis] += shift
        else:
            drawn = np.minimum((np.cumsum(q, axis=1) <= point[:, None]).sum(axis=1), groups - 1)
            z = centres[rows, drawn]
            z[rows, axis] += shift
            players.learn_drawn(0.5 * (1.0 + (z * theta).sum(axis=1)), drawn, q)
        theta = to_ball(theta - 0.5 * step * z)
    return total / rounds, 1.0 / math.sqrt(rounds) + learner.regret_bound(rounds) / rounds


def run_sagawa(
    problems: Sequence[ConvexProblem], method: str, samples: Draws
) -> tuple[Floats, float]:
    """The average theta of group DRO's own update: a group drawn evenly, q_g <- q_g exp(eta l),
    theta moved by q_g times the gradient; with its authors' bound, 2 m sqrt(10 (D^2 G^2 + M^2 log
    m) / T)."""
    (rounds, runs), groups = samples.axis.shape, problems[0].groups
    learner = Hedge(groups, eta=math.sqrt(2.0 * math.log(groups) / rounds) / groups)
    players, rows, step = Learners(learner, runs), np.arange(runs), 4.0 / math.sqrt(rounds)
    centres = np.stack([problem.centres for problem in problems])
    theta = np.stack([problem.start for problem in problems])
    total = np.zeros_like(theta)
    for axis, shift, point in zip(samples.axis, samples.shift, samples.point, strict=True):
        total += theta
        drawn = (groups * point).astype(np.int64)
        z = centres[rows, drawn]
        z[rows, axis] += shift
        gains = np.zeros((runs, groups))
        gains[rows, drawn] = groups * 0.5 * (1.0 + (z * theta).sum(axis=1))
        players.learn(gains)
        theta = to_ball(theta - 0.5 * step * players.probabilities()[rows, drawn][:, None] * z)
    return total / rounds, 2.0 * groups * math.sqrt(10.0 * (1.0 + math.log(groups)) / rounds)


def slope(rounds: Sequence[int], gaps: Floats, start: float) -> tuple[float, float]:
    """The exponent of T, with its standard error (jackknife over the seeds).

    A least-squares line through (log T, log mean gap), over the numbers of rounds after which less
    than half of the gap at the start is left: before, theta is still on its way. What has just left
    the level at which even weights end, two thirds of the start's, falls slower than its rate.

    Args:
        rounds: T.
        gaps: (S, T) by seed.
        start: the gap at the start.

    Returns:
        NaN where that is fewer than two numbers; the error is NaN for one seed.
    """
    kept = gaps.mean(axis=0) < start / 2
    if kept.sum() < 2:
        return math.nan, math.nan
    x = np.log(np.asarray(rounds, np.float64)[kept])
    count = len(gaps)

    def fit(some: Floats) -> float:
        return float(np.polyfit(x, np.log(np.maximum(some.mean(axis=0)[kept], 1e-12)), 1)[0])

    if count < 2:
        return fit(gaps), math.nan
    left = np.array([fit(np.delete(gaps, seed, axis=0)) for seed in range(count)])
    return fit(gaps), math.sqrt((count - 1) * float(left.var()))


@dataclass(frozen=True)
class Settings:
    """What is simulated."""

    groups: tuple[int, ...] = (10, 20, 50)
    rounds: tuple[int, ...] = (1000, 3000, 9000, 27000, 81000)
    seeds: int = 16
    methods: tuple[str, ...] = METHODS


def simulate_convex(settings: Settings) -> dict[str, Any]:
    """Gaps by number of groups and method: (seeds, rounds) each, with the fitted slope and the
    bound."""
    record: dict[str, Any] = {"settings": asdict(settings), "curves": []}
    for groups in settings.groups:
        seeds = range(settings.seeds)
        problems = [ConvexProblem(groups, seed) for seed in seeds]
        for method in settings.methods:
            found = [run(problems, method, rounds, seeds) for rounds in settings.rounds]
            gaps = np.stack([gaps for gaps, _ in found], axis=1)
            fitted, error = slope(settings.rounds, gaps, problems[0].gap(problems[0].start))
            record["curves"].append(
                {
                    "groups": groups,
                    "method": method,
                    "gaps": gaps.tolist(),
                    "bounds": [bound for _, bound in found],
                    "slope": fitted,
                    "slope_error": error,
                }
            )
            print(f"{groups:4} groups  {method:12} slope {fitted:+.2f}", flush=True)
    return record


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
