"""Measured variance of policy gradients: per prompt against p (1 - p), and of whole batches at
equal rollouts.

    python research/gradient_variance.py tiny RUN    # the embedded base, and a finished run's model
    python research/gradient_variance.py tiny --prompts 64 --pool 24 --batch 32 --repeats 8

docs/theory.md says what is measured, docs/log.md what came out; --output DIR also writes
DIR/gradient.json.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gdro.config import controller_of
from gdro.controllers.making import make_controller
from gdro.core.advantages import ADVANTAGES, AdvantageKind
from gdro.lab.stats import Estimate
from gdro.lab.text import table
from gradient_batches import FixedPlan, Repeats, adam_scale, repeat_batches, warm_up
from gradient_law import PromptVariances, by_bin, law_figures, measure_prompts
from gradient_moments import shrinkage
from gradient_scores import Setting, open_setting

CONTROLLERS = ("uniform", "sqrt_law", "neyman", "rollout_gdro", "joint")
BINS = 10


def main() -> None:
    """Measure every model named."""
    chosen = _parser().parse_args()
    torch.set_num_threads(1)
    figures = {}
    for model in chosen.models:
        began = time.process_time()
        with open_setting(
            model, chosen.recipe, chosen.overrides, chosen.prompts, chosen.seed
        ) as setting:
            figures[model] = _measure(setting, chosen, model)
        print(
            f"\n{time.process_time() - began:.0f} s of one core, verifier not counted\n", flush=True
        )
    _print_shrinkage()
    if chosen.output is not None:
        folder = Path(chosen.output)
        folder.mkdir(parents=True, exist_ok=True)
        options = {
            key: value for key, value in vars(chosen).items() if key not in ("models", "output")
        }
        text = json.dumps(_plain({"options": options, "models": list(figures.values())}), indent=1)
        (folder / "gradient.json").write_text(text + "\n", encoding="utf-8")


def _measure(setting: Setting, chosen: argparse.Namespace, model: str) -> dict[str, Any]:
    facts = controller_of(setting.config).facts
    sizes = range(facts.min_rollouts, facts.max_rollouts + 1)
    scale = adam_scale(setting, 8, chosen.seed) if chosen.metric == "adam" else None
    draws = {"screen": chosen.screen, "pool": chosen.pool, "seed": chosen.seed}
    found = measure_prompts(setting, ADVANTAGES, list(sizes), **draws, scale=scale, tell=_tell)
    print(f"\n## {model if not Path(model).is_dir() else 'trained'}\n")
    law = _print_law(found, chosen.seed)
    batch = setting.part(0, chosen.batch)
    measured = _repeat(batch, found, chosen, scale)
    return {
        "model": "tiny" if model == "tiny" else "trained",
        "law": law,
        "batches": _print_batches(measured, found),
    }


def _print_law(found: PromptVariances, seed: int) -> dict[str, Any]:
    rows, figures = by_bin(found, BINS, seed), law_figures(found, seed)
    mixed = int(found.mixed.sum())
    print(f"{len(found.rate)} prompts, {mixed} of them answered both right and wrong\n")
    shown = {
        "bin": [str(row.number) for row in rows],
        "prompts": [str(row.prompts) for row in rows],
        "Var(r)": [f"{row.reward_variance:.3f}" for row in rows],
        "squared score": [f"{row.length:.3g}" for row in rows],
        "variance of a rollout": [f"{row.single:.3g}" for row in rows],
        "... / Var(r), relative": [_text(row.per_variance) for row in rows],
        "standardised": [_text(row.standardised) for row in rows],
    }
    print(table(list(shown), zip(*shown.values(), strict=True)))
    for name, value in figures.items():
        print(f"- {name}: {_text(value)}")
    return {"bins": [asdict(row) for row in rows]} | {
        name: asdict(value) for name, value in figures.items()
    }


def _repeat(
    batch: Setting, found: PromptVariances, chosen: argparse.Namespace, scale: Any
) -> dict[str, Repeats]:
    facts, count = controller_of(batch.config).facts, len(batch.prompts)
    bounds = {"min_rollouts": facts.min_rollouts, "max_rollouts": facts.max_rollouts}
    shared = bounds | {
        "mean_rollouts": facts.mean_rollouts,
        "correct_threshold": facts.correct_threshold,
    }
    limits = (facts.mean_rollouts, facts.min_rollouts, facts.max_rollouts)
    plans: dict[str, Any] = {
        name: make_controller(name, seed=chosen.seed, **shared) for name in CONTROLLERS
    }
    for number, controller in enumerate(plans.values()):
        warm_up(batch, controller, chosen.visits, chosen.seed + 100 + number)
    plans["known Var(r)"] = FixedPlan(found.reward_variance[:count], *limits)
    plans["known v"] = FixedPlan(np.maximum(found.single[:count], 0.0), *limits)
    measured, base = {}, None
    for number, (name, controller) in enumerate(plans.items()):
        _tell(f"batches of {name}")
        seed = chosen.seed + 1000 + number
        measured[name], gradients = repeat_batches(
            batch, controller, ADVANTAGES, chosen.repeats, seed, base, scale
        )
        base = gradients if base is None else base
    return measured


def _print_batches(measured: dict[str, Repeats], found: PromptVariances) -> list[dict[str, Any]]:
    base, rows = measured["uniform"], []
    for number, kind in enumerate(ADVANTAGES):
        print(f"\n{kind}, variance at equal rollouts {base.variance(number):.4g}\n")
        lines = []
        for name, repeats in measured.items():
            figures = repeats.figures(number, base, seed=0)
            predicted = {
                "predicted": _ratio(
                    lambda r, kind=kind: found.of_plan(kind, r.rollouts, r.weights), repeats, base
                ),
                "v_over_n": _ratio(
                    lambda r, kind=kind: _over_n(_single(found, kind), r), repeats, base
                ),
                "law": _ratio(lambda r: _over_n(found.reward_variance, r), repeats, base),
            }
            shown = [
                _text(figures["variance_ratio"]),
                *(f"{value:.3f}" for value in predicted.values()),
            ]
            shown += [_text(figures[key]) for key in ("signal_ratio", "direction", "shift")]
            lines.append((name, *shown))
            kept = {key: asdict(value) for key, value in figures.items()}
            rows.append({"advantage": kind, "plan": name} | kept | predicted | _plan(repeats))
        heads = (
            "plan",
            "measured / uniform",
            "predicted",
            "sum w^2 v/n",
            "law",
            "signal to noise / uniform",
        )
        print(table((*heads, "cosine", "shift"), lines), end="")
    print(
        "\nPlans (rollouts: prompts): "
        + "; ".join(f"{name} {_counts(r)}" for name, r in measured.items())
    )
    return rows


def _single(found: PromptVariances, kind: str) -> np.ndarray:
    return found.standardised if kind == "grpo" else found.single


def _over_n(variance: np.ndarray, repeats: Repeats) -> float:
    return float((repeats.weights**2 * variance[: len(repeats.rollouts)] / repeats.rollouts).sum())


def _ratio(of: Any, repeats: Repeats, base: Repeats) -> float:
    return float(of(repeats) / of(base))


def _plan(repeats: Repeats) -> dict[str, Any]:
    return {"rollouts": repeats.rollouts.tolist(), "weights": np.round(repeats.weights, 4).tolist()}


def _counts(repeats: Repeats) -> str:
    sizes, prompts = np.unique(repeats.rollouts, return_counts=True)
    return ", ".join(
        f"{n}: {many}" for n, many in zip(sizes.tolist(), prompts.tolist(), strict=True)
    )


def _print_shrinkage() -> None:
    sizes, rates = (2, 4, 8, 12), (0.02, 0.1, 0.25, 0.5)
    print("\nmean gradient of a group over grad p\n")
    kinds: tuple[AdvantageKind, ...] = ("dr_grpo", "rloo")
    rows = [
        ("grpo", str(rate), *(f"{shrinkage(rate, n, 'grpo'):.2f}" for n in sizes)) for rate in rates
    ]
    rows += [(kind, "any", *(f"{shrinkage(0.5, n, kind):.2f}" for n in sizes)) for kind in kinds]
    print(table(("advantage", "p", *(f"n = {n}" for n in sizes)), rows), end="")


def _text(value: Estimate) -> str:
    if math.isnan(value.value):
        return "–"
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"


def _plain(value: Any) -> Any:
    """The same with null for what is no number."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="`tiny`, a model folder, or a finished run's folder",
    )
    parser.add_argument(
        "--recipe",
        help="settings of data, verifier and generation (default: the run's, or `default`)",
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument(
        "--prompts", type=int, default=160, help="prompts of the first table (default: %(default)s)"
    )
    parser.add_argument(
        "--screen", type=int, default=128, help="rollouts for a prompt's p (default: %(default)s)"
    )
    parser.add_argument(
        "--pool",
        type=int,
        default=48,
        help="rollouts for a prompt's gradients (default: %(default)s)",
    )
    parser.add_argument(
        "--batch", type=int, default=64, help="prompts of a repeated batch (default: %(default)s)"
    )
    parser.add_argument(
        "--repeats", type=int, default=32, help="of each plan's batch (default: %(default)s)"
    )
    parser.add_argument(
        "--visits",
        type=int,
        default=6,
        help="of the batch to warm a controller up (default: %(default)s)",
    )
    parser.add_argument(
        "--metric",
        choices=["plain", "adam"],
        default="plain",
        help="adam: each coordinate over its root mean square",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", metavar="DIR", help="also write DIR/gradient.json")
    return parser


if __name__ == "__main__":
    main()
