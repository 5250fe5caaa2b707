"""`gdro simulate`: controllers on a simulated population, several seeds, as tables, JSON and one
figure.

    gdro simulate                                         every controller, 5 seeds, 1000 steps
    gdro simulate uniform joint --steps 3000 --delay 4    two of them, with feedback four steps late
    gdro simulate prompt_gdro:adversary=hedge,eta=2       one with options
    gdro simulate uniform --prompts 1000000 --steps 1000  a million prompts
    gdro simulate convex                                  the theory's rate (gdro.lab.convex)

It is a simulator: use it to see how a controller moves and to find faults, not to choose a method.
docs/performance.md.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from gdro.controllers.registry import controller_names
from gdro.core.errors import GDROError
from gdro.io import to_json
from gdro.lab import convex
from gdro.lab.simulate_report import draw_figure, markdown, summarize
from gdro.lab.simulation import SimulationSettings, Trace, check_settings, controller_of, simulate
from gdro.lab.world import Learning, World

ADVERSARIES = ("hedge", "exp3p", "tsallis_inf")
DEFAULT, WORLD, LEARNING = SimulationSettings(), World(), Learning()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 when it succeeded, 2 when an argument is wrong."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] == ["convex"]:
        return convex.main(words[1:])
    chosen = _parser().parse_args(words)
    try:
        settings = _settings(chosen)
        methods = chosen.methods or default_methods()
        check_settings(settings)
        if chosen.seeds < 1 or chosen.first_seed < 0:
            raise GDROError("--seeds must be at least 1 and --first-seed at least 0")
        strange = sorted(set(chosen.draw or ()) - set(methods))
        if strange:
            raise GDROError(f"--draw names {strange[0]!r}, which is not simulated")
        for method in methods:
            controller_of(method, mean_rollouts=settings.mean_rollouts)
    except GDROError as error:
        print(f"gdro simulate: {error}", file=sys.stderr)
        return 2
    seeds = range(chosen.first_seed, chosen.first_seed + chosen.seeds)
    traces, timing = run(methods, seeds, settings)
    output = Path(chosen.output)
    write(traces, timing, settings, output, chosen.draw)
    print(f"\n{(output / 'table.md').read_text(encoding='utf-8')}\nwritten to {output}")
    return 0


def default_methods() -> list[str]:
    """Every controller of the registry, and Prompt-GDRO with each of the no-regret adversaries."""
    return [*controller_names(), *(f"prompt_gdro:adversary={name}" for name in ADVERSARIES)]


def run(
    methods: Sequence[str], seeds: Sequence[int], settings: SimulationSettings
) -> tuple[list[Trace], dict[str, Any]]:
    """All traces; and for each method seconds, steps a second, and the process's peak memory so
    far."""
    traces, timing = [], {}
    for method in dict.fromkeys(methods):
        began = time.perf_counter()
        traces += [simulate(method, seed, settings) for seed in seeds]
        seconds = time.perf_counter() - began
        timing[method] = {
            "seconds": seconds,
            "steps_per_second": settings.steps * len(seeds) / seconds,
            "peak_memory_mb": peak_memory_mb(),
        }
        last = traces[-1].evaluations
        print(
            f"{method:32} {seconds:6.1f} s   mean@8 {last['mean_at_k'][-1]:.3f}   pass@8"
            f" {last['pass_at_k'][-1]:.3f}",
            flush=True,
        )
    return traces, timing


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far."""
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def write(
    traces: Sequence[Trace],
    timing: dict[str, Any],
    settings: SimulationSettings,
    output: Path,
    draw: Sequence[str] | None = None,
) -> None:
    """table.md, results.json and figure.svg, which depend on seeds and settings alone; timing.json,
    which does not.

    Args:
        draw: methods of the figure; None for all.
    """
    output.mkdir(parents=True, exist_ok=True)
    summary = summarize(traces)
    record = {
        "settings": asdict(settings),
        **summary,
        "runs": [
            {"method": t.method, "seed": t.seed, "evaluations": t.evaluations} for t in traces
        ],
    }
    (output / "results.json").write_text(to_json(record, indent=1) + "\n", encoding="utf-8")
    (output / "timing.json").write_text(to_json(timing, indent=1) + "\n", encoding="utf-8")
    (output / "table.md").write_text(markdown(summary), encoding="utf-8")
    draw_figure(
        [trace for trace in traces if draw is None or trace.method in draw], output / "figure.svg"
    )


def _settings(chosen: argparse.Namespace) -> SimulationSettings:
    world = replace(WORLD, prompts=chosen.prompts, shortcut=chosen.shortcut)
    learning = replace(
        LEARNING,
        rate=chosen.rate,
        noise=chosen.noise,
        forgetting=chosen.forgetting,
        drift=chosen.drift,
        average=chosen.average,
    )
    names = ("steps", "batch", "mean_rollouts", "pool", "delay", "every", "held_out")
    return SimulationSettings(
        **{name: getattr(chosen, name) for name in names}, world=world, learning=learning
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gdro simulate", description="Controllers on a simulated population."
    )
    parser.add_argument(
        "methods",
        nargs="*",
        help="controllers, with options as name:option=value,... (default: all)",
    )
    numbers: list[tuple[str, type, Any, str]] = [
        ("seeds", int, 5, "number of seeds"),
        ("first-seed", int, 0, "the first of them"),
        ("steps", int, DEFAULT.steps, "training steps"),
        ("batch", int, DEFAULT.batch, "prompts a step"),
        ("mean-rollouts", int, DEFAULT.mean_rollouts, "mean rollouts of a prompt"),
        ("pool", int, DEFAULT.pool, "a selecting method chooses among this many times the batch"),
        ("delay", int, DEFAULT.delay, "steps between a plan and its rewards"),
        ("every", int, DEFAULT.every, "steps between evaluations"),
        ("held-out", int, DEFAULT.held_out, "prompts of the evaluation"),
        ("prompts", int, WORLD.prompts, "prompts to train on"),
        (
            "shortcut",
            float,
            WORLD.shortcut,
            "strength of the skill that helps easy prompts and hurts hard ones",
        ),
        ("rate", float, LEARNING.rate, "length of a step"),
        ("noise", float, LEARNING.noise, "random part of a rollout's gradient"),
        (
            "forgetting",
            float,
            LEARNING.forgetting,
            "share of what was learnt that is lost in each step",
        ),
        ("drift", float, LEARNING.drift, "random walk of the skills in each step"),
    ]
    for name, kind, default, meaning in numbers:
        parser.add_argument(
            f"--{name}", type=kind, default=default, metavar="N", help=f"{meaning} ({default})"
        )
    parser.add_argument(
        "--average",
        choices=("prompts", "rows"),
        default=LEARNING.average,
        help="of the batch's loss",
    )
    parser.add_argument(
        "--draw", nargs="+", metavar="METHOD", help="methods of the figure (default: all)"
    )
    parser.add_argument(
        "--output", default="runs/simulate", metavar="FOLDER", help="where to write (runs/simulate)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
