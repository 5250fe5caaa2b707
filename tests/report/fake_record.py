"""A synthetic record for the tests of the report: a travelling wave of difficulty over ten bins.

Prompts have latent abilities that training raises, the easier ones first; bins, shares, weights and
rollouts follow from them as a joint controller's would. No model is involved; no number here is
evidence of anything.

Run as a script to write one: python tests/report/fake_record.py RUN [steps]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from gdro.report.completions import Completion, Shown, write_completions

BINS = 10
SOURCES = ("chain_sum", "letter_counting", "number_sorting", "spell_backward")


def clean(value):
    """NaN as null, floats short."""
    if isinstance(value, dict):
        return {key: clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [clean(item) for item in value]
    if isinstance(value, float | np.floating):
        return None if not np.isfinite(value) else round(float(value), 6)
    return int(value) if isinstance(value, np.integer) else value


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class FakeRun:
    """Latent pass rates of a population of prompts, and the events of a run over them."""

    def __init__(self, steps=300, seed=0, controller="joint", informative=1):
        self.rng = np.random.default_rng(seed)
        self.steps, self.controller, self.informative = steps, controller, informative
        self.logit = self.rng.normal(-1.1, 1.25, 1024)
        self.held = self.rng.normal(-1.1, 1.25, 256)
        self.seen = np.zeros(1024, bool)
        self.dual = self.regret = 0.0
        self.rollouts_total = 0
        self.base = self.rng.binomial(8, sigmoid(self.held)) / 8

    def ability(self, logit, step):
        """Training lifts every prompt, those near one half most."""
        progress = 1 - np.exp(-2.2 * step / self.steps)
        return logit + 2.9 * progress * (0.3 + np.exp(-((logit + 0.2) ** 2) / 5))

    def start(self):
        return {
            "event": "start",
            "time": "2026-11-23T08:00:00Z",
            "version": "0.1.0",
            "config": {
                "controller": {
                    "name": self.controller,
                    "bins": BINS,
                    "mean_rollouts": 4,
                    "eta": 3.0,
                },
                "model": "tiny",
                "steps": self.steps,
                "seed": 0,
                "data": {"source": "reasoning_gym", "families": list(SOURCES)},
            },
            "bins": BINS,
            "edges": [round(0.1 * i, 1) for i in range(BINS + 1)],
            "machine": {
                "cpu": "AMD EPYC",
                "cores": 2,
                "gpu": None,
                "python": "3.11.2",
                "torch": "2.13.0",
            },
            "train_prompts": 1024,
            "heldout_prompts": 256,
        }

    def evaluation(self, step):
        p = sigmoid(self.ability(self.held, step))
        correct = self.rng.binomial(8, p)
        if step == 0:
            correct = np.round(self.base * 8).astype(int)
        mean, best = correct / 8, (correct > 0).astype(float)
        bins = np.minimum((self.base * BINS).astype(int), BINS - 1)
        family = np.arange(256) % len(SOURCES)

        def part(rows):
            return {
                "prompts": int(rows.sum()),
                "mean_at_k": ci(mean[rows]),
                "pass_at_k": ci(best[rows]),
            }

        by_bin = [{"bin": b, **part(bins == b)} for b in range(BINS) if (bins == b).any()]
        return {
            "event": "evaluation",
            "step": step,
            "mean_at_k": ci(mean),
            "pass_at_k": ci(best),
            "k": 8,
            "samples": 8,
            "prompts": 256,
            "by_bin": by_bin,
            "by_source": {name: part(family == i) for i, name in enumerate(SOURCES)},
            "change": {"mean_at_k": ci(mean - self.base), "pass_at_k": ci(best - (self.base > 0))},
            "worst_bin": by_bin[int(np.argmin([row["mean_at_k"]["value"] for row in by_bin]))],
            "seconds": 2.1,
        }

    def step(self, step):
        rows = self.rng.choice(1024, 64, replace=False)
        p_all = sigmoid(self.ability(self.logit, step))
        p = p_all[rows]
        self.seen[rows] = True
        bins = np.minimum((p * BINS).astype(int), BINS - 1)
        counts = np.bincount(bins, minlength=BINS)
        pool = np.minimum((p_all[self.seen] * BINS).astype(int), BINS - 1)
        mean_p = np.divide(
            np.bincount(bins, p, BINS), counts, np.full(BINS, np.nan), where=counts > 0
        )
        centre = (np.arange(BINS) + 0.5) / BINS
        variance = centre * (1 - centre)
        plan = np.sqrt(variance) / (counts / 64 @ np.sqrt(variance)) * 4
        reward = mean_p + self.rng.normal(0, 0.05, BINS)
        self.rollouts_total += 256
        live = {
            key: np.where(counts > 0, value, np.nan)
            for key, value in [("plan", plan), ("r", reward)]
        }
        self.dual += 0.02 * self.rng.normal()
        self.regret += abs(self.rng.normal(0.02, 0.02))
        metrics = {
            "step": step,
            "share": counts / 64,
            "mass": np.bincount(pool, minlength=BINS) / len(pool),
            "reward": live["r"],
            "pass_rate": mean_p,
            "variance": variance,
            "batch_prompts": 64,
            "batch_rollouts": 256,
            "unseen_share": float(np.exp(-step / 8)),
            "seen_prompts": int(self.seen.sum()),
            "reward_mean": float(p.mean()),
            "any_correct": float((1 - (1 - p) ** 4).mean()),
            "zero_variance_share": float(((1 - p) ** 4 + p**4).mean()),
            "out_of_range": 0,
            "weight": np.where(counts > 0, 1.0, np.nan),
            "rollouts": np.where(counts > 0, 4.0, np.nan),
        }
        if self.controller in ("joint", "prompt_gdro"):
            prob = np.exp(3 * (1 - centre) * (1 if self.informative else 1e-4))
            weight = prob / (counts / 64 @ prob)
            metrics |= {
                "weight": np.where(counts > 0, weight, np.nan),
                "prob": prob / prob.sum(),
                "score": 1 - centre,
                "signal_spread": float(prob.max() / prob.min() - 1),
                "signal_informative": self.informative,
                "regret": self.regret,
                "regret_bound": float(np.sqrt(2 * step * np.log(BINS))),
            }
        if self.controller in ("joint", "rollout_gdro"):
            wse = counts / 64 @ np.sqrt(variance / plan)
            metrics |= {
                "rollouts": live["plan"],
                "demand": plan * (1 + 0.1 * np.exp(-step / 40)),
                "demand_mean": 4 * (1 + 0.1 * np.exp(-step / 40)),
                "shadow_price": 0.018 + 0.004 * self.dual,
                "wse": float(wse),
                "wse_uniform": float(counts / 64 @ np.sqrt(variance / 4)),
            }
        return {
            "event": "step",
            "step": step,
            "epoch": step / 16,
            "loss": float(self.rng.normal(0, 0.004)),
            "reward": float(p.mean()),
            "learning_rate": 1e-4,
            "grad_norm": float(0.4 + 0.05 * self.rng.normal()),
            "entropy": float(0.55 * np.exp(-step / 400) + 0.01 * self.rng.normal()),
            "completion_length": float(9 + self.rng.normal()),
            "rollouts_total": self.rollouts_total,
            "tokens_total": self.rollouts_total * 30,
            "seconds": {"step": 0.36, "generate": 0.19, "score": 0.03, "update": 0.13},
            "verifier": {
                "correct": int(256 * p.mean()),
                "wrong": 250 - int(256 * p.mean()),
                "no_answer": 6,
            },
            "controller": metrics | {"live_predicted": 0.61 + 0.1 * step / self.steps},
            "choice": self.choice(p_all, rows, bins, p),
        }

    def choice(self, p_all, rows, bins, p):
        """As if the batch had been chosen among 512 prompts, half of them already with a bin."""
        offered = np.concatenate([rows, self.rng.choice(1024, 448)])
        sources = {}
        for index, name in enumerate(SOURCES):
            mine = rows % len(SOURCES) == index
            sources[f"reasoning_gym/{name}"] = {
                "offered": int((offered % len(SOURCES) == index).sum()),
                "chosen": int(mine.sum()),
                "rollouts": 4 * int(mine.sum()),
                "reward": float(p[mine].mean()) if mine.any() else float("nan"),
                "live": int(mine.sum() / 2),
            }
        return {
            "offered": 512,
            "chosen": 64,
            "sources": sources,
            "live_offered": 0.42,
            "offered_bins": np.bincount((p_all[offered] * BINS).astype(int), minlength=BINS),
            "chosen_bins": np.bincount(bins, minlength=BINS),
        }

    def completions(self, step):
        """What an evaluation keeps: the first half of the prompts rises, one falls."""
        for index in range(12):
            correct = (0 if index > 8 else 2) + (4 if step and index < 6 else 0)
            correct -= 1 if step and index == 8 else 0
            kinds = [True] * (correct > 0) + [False] * (correct < 8)
            shown = tuple(
                Completion(
                    f"I say {7 if right else 9}",
                    float(right),
                    right,
                    "correct" if right else "wrong",
                    str(7 if right else 9),
                    index != 3,
                )
                for right in kinds
            )
            name = SOURCES[index % len(SOURCES)]
            prompt = f"reasoning_gym/{name}/{index}"
            yield Shown(prompt, f"What is {index} + 3?", "7", correct, 8, shown)

    def events(self):
        """Every event of an uninterrupted run."""
        yield self.start()
        every = max(1, self.steps // 6)
        for step in range(self.steps + 1):
            if step:
                yield self.step(step)
            if step % every == 0:
                yield self.evaluation(step)
                yield {"event": "checkpoint", "step": step, "path": f"checkpoints/step-{step:06d}"}
        yield {
            "event": "end",
            "step": self.steps,
            "seconds": 0.39 * self.steps,
            "peak_memory_mb": 912.0,
        }


def ci(values):
    """Mean with a normal interval."""
    half = 1.96 * values.std() / max(1, len(values)) ** 0.5
    mean = values.mean()
    return {"value": mean, "low": mean - half, "high": mean + half}


def lines(run):
    """The lines of a run's record."""
    return [json.dumps(clean(event)) for event in run.events()]


def write(folder: Path, run: FakeRun | None = None) -> Path:
    """Write the record of a run into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text(
        "\n".join(lines(run := run or FakeRun())) + "\n", encoding="utf-8"
    )
    for step in (0, run.steps - run.steps % max(1, run.steps // 6)):
        write_completions(folder, step, list(run.completions(step)))
    return folder


if __name__ == "__main__":
    print(write(Path(sys.argv[1]), FakeRun(int(sys.argv[2]) if len(sys.argv) > 2 else 300)))
