"""Comparisons with made-up records, for the tests of table and page: no training, the same
files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from gdro.lab.compare_plan import ComparisonPlan

STEPS = (0, 50, 100)
PER_STEP = 256
SAMPLES = 8
PROMPTS = 120


def make(root: Path, lift: dict[str, float], seeds: tuple[int, ...] = (0, 1, 2)) -> ComparisonPlan:
    """Runs of the methods in `lift`, the first of them the baseline; each adds so much to every
    success rate."""
    methods = {name: {"controller": "uniform"} for name in lift}
    plan = ComparisonPlan(
        name="fake",
        seeds=list(seeds),
        methods=methods,
        overrides={"data.heldout_shares": "weights"},
    )
    for seed in seeds:
        rng = np.random.default_rng(seed)
        base = rng.binomial(SAMPLES, np.linspace(0.05, 0.95, PROMPTS))
        for method, gain in lift.items():
            run = root / method / f"seed-{seed}"
            (run / "evaluations").mkdir(parents=True)
            for step in STEPS:
                rates = np.clip(np.linspace(0.05, 0.95, PROMPTS) + step / STEPS[-1] * gain, 0, 1)
                write_evaluation(run, step, base if step == 0 else rng.binomial(SAMPLES, rates))
            write_record(run, end=True)
    return plan


def write_evaluation(run: Path, step: int, correct: np.ndarray) -> None:
    """One evaluation's file."""
    rows = [
        {"id": f"p{i}", "source": "s", "correct": int(c), "samples": SAMPLES}
        for i, c in enumerate(correct)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (run / "evaluations" / f"step-{step:06d}.jsonl").write_text(text)


def write_record(
    run: Path,
    end: bool,
    evaluated: tuple[int, ...] = STEPS,
    began: str = "2026-11-27T23:59:59+00:00",
) -> None:
    """The run's record, with or without its end."""
    machine = {"gpu": None, "processor": "x86_64", "processes": 1, "torch": "2.13.0"}
    start = {"event": "start", "bins": 2, "version": "0", "time": began, "commit": "abcdef0"}
    events: list[dict[str, object]] = [start | {"machine": machine}]
    for step in range(STEPS[-1] + 1):
        if step:
            spent = {
                "rollouts_total": PER_STEP * step,
                "tokens_total": 10 * PER_STEP * step,
                "trained_tokens": 4 * PER_STEP,
                "seconds": {"step": 0.5},
            }
            events.append(
                {
                    "event": "step",
                    "step": step,
                    **spent,
                    "controller": {"zero_variance_share": 0.25},
                }
            )
        if step in evaluated:
            events.append({"event": "evaluation", "step": step})
    events += [{"event": "end", "step": STEPS[-1]}] if end else []
    (run / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
