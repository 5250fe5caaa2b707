"""The scripts of docs/performance.md in their short forms; no test looks at a time."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "scaling"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return import_module


def test_a_line_is_found_and_its_miss_is_nothing(script):
    sizes = np.array([[10.0, 100.0], [1e3, 1e4], [1e3, 4e4], [1e5, 1e6]])
    coefficients, miss = script("cost").fit(sizes, 0.5 + 2e-3 * sizes[:, 0] + 3e-5 * sizes[:, 1])
    assert coefficients == pytest.approx([0.5, 2e-3, 3e-5])
    assert miss < 1e-9
    assert script("cost").value(coefficients, 10.0, 100.0) == pytest.approx(0.523)


def test_no_coefficient_is_negative(script):
    coefficients, miss = script("cost").fit([[1.0], [2.0], [3.0]], [3.0, 2.0, 1.0])
    assert coefficients[1] == 0.0 < coefficients[0]
    assert miss == pytest.approx(abs(coefficients[0] / 3.0 - 1.0))


@pytest.mark.parametrize("costs", [[1.0], [1.0, 0.0]])
def test_too_few_costs_or_none_are_refused(script, costs):
    with pytest.raises(ValueError, match="all above 0"):
        script("cost").fit([[float(place)] for place in range(len(costs))], costs)


def test_a_cell_that_was_not_measured_is_marked_and_lies_on_the_line(script):
    cost = script("cost")

    def row(prompts: int, batch: int, mean: int) -> dict[str, object]:
        sizes = {
            key: 2.0 + 1e-4 * prompts for key in ("resident_mb", "state_mb", "save_s", "load_s")
        }
        milliseconds = 0.5 + 2e-3 * batch + 1e-4 * batch * mean
        shape = {"controller": "uniform", "prompts": prompts, "batch": batch, "mean_rollouts": mean}
        return shape | sizes | {"cpu_ms": milliseconds}

    by_rollouts = [row(10**4, *shape) for shape in ((100, 10), (1000, 10), (2500, 40), (25_000, 4))]
    by_prompts = [row(count, 250, 4) for count in (10**3, 10**4, 10**5)]
    text = cost.tables({"by_prompts": by_prompts, "by_rollouts": by_rollouts})
    assert "| `uniform` | 2 | 3 | 12 | *~102* | *~1,002* |" in text
    assert "| `uniform` | 0.8 | 3.5 | *~30.5* | *~300.5* | 2.0 | 100 | 0 % |" in text


@pytest.mark.parametrize(("schedule", "delay"), [("fixed", 0), ("random", 6), ("teams", 6)])
def test_late_feedback_from_many_workers_meets_every_budget(script, schedule, delay):
    module = script("delay")
    setting = module.Setting("joint", 3, schedule, delay, versions=24, workers=40, prompts=120)
    found = module.simulate(setting)
    assert found == pytest.approx(module.simulate(setting), nan_ok=True, abs=0.0, rel=0.0)
    assert found["budget_error"] == 0.0
    assert (found["rate_moved"] == 0.0) == (delay == 0)
    assert found["variance_over_law"] > -0.01
    assert 0.0 < found["wrong_bin"] < 1.0
    assert 0.0 < found["regret_now"] < 1.0


def test_changes_are_against_no_delay_of_the_same_seed(script, tmp_path, capsys):
    arguments = [
        "--methods",
        "rollout_gdro",
        "--schedules",
        "fixed",
        "--seeds",
        "2",
        "--versions",
        "24",
    ]
    output = tmp_path / "delay.json"
    assert (
        script("delay").main(
            [*arguments, "--workers", "20", "--prompts", "60", "--output", str(output)]
        )
        == 0
    )
    rows = {row["delay"]: row for row in json.loads(output.read_text())}
    change = rows[8]["mean_at_8"]["change"]["value"]
    assert change == pytest.approx(rows[8]["mean_at_8"]["value"] - rows[0]["mean_at_8"]["value"])
    assert "change" not in rows[0]["mean_at_8"]
    assert "| `rollout_gdro` | 8 | - | - | - | 0 |" in capsys.readouterr().out


def test_random_lags_come_out_of_order_and_never_above_the_delay(script):
    delay = script("delay")
    setting = delay.Setting("uniform", 0, "random", 4)
    lags = np.array([delay.lags_of(setting, version, 1)[0][0] for version in range(200)])
    assert set(lags.tolist()) == {0, 1, 2, 3, 4}
    assert (np.diff(np.arange(200) + lags) < 0).any()
