"""The formulas of a dry run, against cases worked by hand."""

import pytest

from gdro.config.base import ConfigError
from gdro.runs.estimate import Architecture, Assumptions, assumptions, gpu_hours, memory, work

SMALL = Architecture(parameters=1000, layers=3, hidden=10, kv_heads=2, head_dim=4, vocabulary=50)


def test_work_by_hand() -> None:
    done = work(
        steps=10,
        prompts=4,
        mean_rollouts=2,
        iterations=3,
        forward_passes=1,
        prompt_tokens=5,
        completion_tokens=20,
        evaluation_completions=7,
    )
    assert done.rollouts == 80
    assert (done.generated, done.prefilled) == (1600, 200)
    assert (done.trained, done.scored, done.evaluated) == (6000, 2000, 140)


def test_hours_by_hand() -> None:
    """10^9 parameters; 1 TFLOP/s at half and a quarter: 5 * 10^11 and 2.5 * 10^11 operations a
    second."""
    done = work(
        steps=1,
        prompts=100,
        mean_rollouts=9,
        iterations=1,
        forward_passes=1,
        prompt_tokens=100,
        completion_tokens=900,
        evaluation_completions=50,
    )
    given = Assumptions(peak_tflops=1, train_utilisation=0.5, generate_utilisation=0.25)
    hours = gpu_hours(done, 10**9, given, checkpointing=False)
    assert hours.generate * 3600 == pytest.approx((810_000 + 10_000) * 2e9 / 2.5e11)
    assert hours.update * 3600 == pytest.approx(900_000 * 6e9 / 5e11)
    assert hours.score * 3600 == pytest.approx(900_000 * 2e9 / 5e11)
    assert hours.evaluate * 3600 == pytest.approx(45_000 * 2e9 / 2.5e11)
    assert hours.total == pytest.approx(
        hours.generate + hours.update + hours.score + hours.evaluate
    )
    again = gpu_hours(done, 10**9, given, checkpointing=True)
    assert again.update == pytest.approx(hours.update * 8 / 6)


def _memory(model: Architecture = SMALL, **changes: object):
    settings = {
        "rows_sampled": 6,
        "rows_evaluated": 512,
        "rows_updated": 2,
        "prompt_tokens": 3,
        "completion_tokens": 7,
        "half": True,
        "reference": False,
        "adapters": False,
        "checkpointing": False,
    }
    return memory(model, **(settings | changes))


def test_memory_by_hand() -> None:
    found = _memory()
    assert found.fixed == 16_000 + 2_000
    token = 2 * 3 * 2 * 4 * 2
    assert found.sampling == 6 * 10 * token
    assert found.evaluating == 512 * 10 * token
    logits = 2 * 7 * 50 * 4 * 2
    assert found.updating == 2 * 10 * 34 * 10 * 3 + logits
    assert _memory(checkpointing=True).updating == 2 * 10 * (34 * 10 + 2 * 10 * 3) + logits
    assert found.peak == found.fixed + max(found.sampling, found.evaluating, found.updating)


def test_what_is_fixed() -> None:
    assert _memory(half=False).fixed == 16_000
    assert _memory(reference=True).fixed == 22_000
    assert _memory(reference=True, adapters=True).fixed == 6_000


def test_without_sizes_only_the_fixed_part_is_known() -> None:
    found = _memory(Architecture(1000))
    assert (found.sampling, found.updating, found.peak) == (None, None, 18_000)


def test_assumptions_are_read_and_checked() -> None:
    found, origins = assumptions(["processes=2", "gpu=A100"], {"device_gb": 7.0})
    assert found == Assumptions(processes=2, peak_tflops=312, device_gb=80)
    assert origins == {"processes": "given", "peak_tflops": "A100", "device_gb": "A100"}
    assert assumptions([], {"device_gb": 7.0}) == (
        Assumptions(device_gb=7),
        {"device_gb": "this machine"},
    )
    for wrong in (
        "gpus=2",
        "gpu=h1000",
        "processes=1.5",
        "processes=0",
        "device_gb=much",
        "train_utilisation=1.1",
        "device_gb=nan",
    ):
        with pytest.raises(ConfigError, match="--assume"):
            assumptions([wrong], {})
