"""How well do texts, sources or families rank prompts that were never visited? Read off the
evaluations of a finished run.

    python research/text_ranking.py RUN        # e.g. runs/compare-control/uniform/seed-310

At each evaluation half of the held-out prompts teach, with all their samples, and the other half is
ranked; area under the ROC curve of right against wrong samples, mean of REPEATS random halves. The
text model is that of `gdro.core.text_posterior`: logistic regression with its precision on its
features, of several widths, and on those that it has together with the names of the sources.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from gdro.config import load_config
from gdro.core import text_posterior
from gdro.core.text_posterior import CONSTANT, NAME, NAMES, PRECISION, name_place
from gdro.core.types import Floats
from gdro.engines.trl.ids import text_of
from gdro.lab.text import table
from gdro.runs.prompts import load_prompts

REPEATS, WIDTHS = 8, (128, 256, 512)


def vectors(texts: list[str], width: int) -> Floats:
    """(N, width + 1) features and the constant."""
    text_posterior.WIDTH = width
    found = np.array([text_posterior.text_vector(text) for text in texts])
    return np.concatenate([found, np.full((len(texts), 1), CONSTANT)], axis=1)


def fitted(inputs: Floats, right: Floats, samples: Floats) -> Floats:
    """The mode of the weights, by Newton's method."""
    weights = np.zeros(inputs.shape[1])
    for _ in range(15):
        mean = 1.0 / (1.0 + np.exp(-inputs @ weights))
        spread = (samples * mean * (1.0 - mean))[:, None]
        curvature = PRECISION * np.eye(len(weights)) + inputs.T @ (spread * inputs)
        gradient = inputs.T @ (right - samples * mean) - PRECISION * weights
        weights = weights + np.linalg.solve(curvature, gradient)
    return weights


def by_label(labels: list[str], teach: np.ndarray, right: Floats, samples: Floats) -> Floats:
    """The mean rate of each prompt's label among those that teach."""
    rates = {}
    for label in set(labels):
        own = teach & np.array([other == label for other in labels])
        rates[label] = (right[own].sum() + 0.5) / (samples[own].sum() + 1.0)
    return np.array([rates[label] for label in labels])


def area(scores: Floats, right: Floats, wrong: Floats) -> float:
    """Chance that a right sample ranks before a wrong one, equal scores counting half."""
    _, place = np.unique(scores, return_inverse=True)
    of_right, of_wrong = np.bincount(place, right), np.bincount(place, wrong)
    below = np.cumsum(of_wrong) - of_wrong / 2.0
    return float((of_right * below).sum() / (of_right.sum() * of_wrong.sum()))


def main() -> None:
    """See the file's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    config = load_config(str(run / "config.yaml"))
    texts = {p.id: text_of(p.messages) for p in load_prompts(config.data).heldout}
    rows = []
    for path in sorted((run / "evaluations").glob("step-*.jsonl")):
        entries = [json.loads(line) for line in path.read_text().splitlines()]
        right = np.array([entry["correct"] for entry in entries], np.float64)
        samples = np.array([entry["samples"] for entry in entries], np.float64)
        sources = [entry["source"] for entry in entries]
        families = ["/".join(source.split("/")[:2]) for source in sources]
        inputs = {w: vectors([texts[entry["id"]] for entry in entries], w) for w in WIDTHS}
        places = np.array([name_place(entry["id"]) for entry in entries])
        names = NAME * np.equal.outer(places, np.arange(NAMES))
        models = {f"text, {width} places": x for width, x in inputs.items()}
        models["text and source"] = np.concatenate([inputs[256], names], axis=1)
        found: dict[str, list[float]] = {}
        for repeat in range(REPEATS):
            half = np.random.default_rng(repeat).permutation(len(entries)) < len(entries) // 2
            scores = {"source": by_label(sources, half, right, samples)}
            scores["family"] = by_label(families, half, right, samples)
            for name, x in models.items():
                scores[name] = x @ fitted(x[half], right[half], samples[half])
            for name, score in scores.items():
                rest = area(score[~half], right[~half], (samples - right)[~half])
                found.setdefault(name, []).append(rest)
        step = path.stem.removeprefix("step-").lstrip("0") or "0"
        rows.append([step, *(f"{np.mean(areas):.3f}" for areas in found.values())])
    print(table(["step", *found], rows), end="")


if __name__ == "__main__":
    main()
