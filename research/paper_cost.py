"""What the paper's experiment takes by the formulas of `gdro train --dry-run`: the tables of
docs/performance.md.

    python research/paper_cost.py

Pure arithmetic: no GPU, no data, no weights. Sizes of Qwen3 are those of its published config.json
files, written here by hand; prompts of 150 tokens are assumed.
"""

from __future__ import annotations

from gdro.lab.text import table
from gdro.runs.estimate import Architecture, Assumptions, gpu_hours, memory, work

QWEN3 = {
    "1.7B": Architecture(1_720_574_976, 28, 2048, 8, 128, 151_936),
    "4B": Architecture(4_022_468_096, 36, 2560, 8, 128, 151_936),
    "8B": Architecture(8_190_735_360, 36, 4096, 8, 128, 151_936),
}
LONGEST = 4096
PROMPT = 150
ROWS = 64
"""generation.rows and evaluation.rows of the recipe."""


def main() -> None:
    """Print both tables."""
    hours = [
        _hours(name, model, part * LONGEST) for name, model in QWEN3.items() for part in (0.25, 0.5)
    ]
    print(
        table(
            (
                "model",
                "mean completion",
                "tokens sampled",
                "sampling",
                "update",
                "reference",
                "GPU-hours",
            ),
            hours,
        )
    )
    print(
        table(("GPUs", "fixed", "sampling", "updating", "peak, GB"), map(_memory, (8, 16, 32, 64))),
        end="",
    )


def _hours(name: str, model: Architecture, completion: float) -> list[str]:
    done = work(
        steps=1000,
        prompts=256,
        mean_rollouts=4,
        iterations=1,
        forward_passes=1,
        prompt_tokens=PROMPT,
        completion_tokens=completion,
        evaluation_completions=0,
    )
    hours = gpu_hours(done, model.parameters, Assumptions(), checkpointing=True)
    parts = (hours.generate, hours.update, hours.score, hours.total)
    return [
        name,
        f"{completion:.0f}",
        f"{done.generated / 1e9:.2f} x 10^9",
        *(f"{part:.0f}" for part in parts),
    ]


def _memory(processes: int) -> list[str]:
    found = memory(
        QWEN3["1.7B"],
        rows_sampled=min(1024 // processes, ROWS),
        rows_evaluated=ROWS,
        rows_updated=4,
        prompt_tokens=PROMPT,
        completion_tokens=LONGEST,
        half=True,
        reference=True,
        adapters=False,
        checkpointing=True,
    )
    assert found.sampling is not None
    assert found.updating is not None
    peak = found.fixed + max(found.sampling, found.updating)
    return [
        str(processes),
        *(f"{part / 1e9:.1f}" for part in (found.fixed, found.sampling, found.updating, peak)),
    ]


if __name__ == "__main__":
    main()
