"""Objectives in the settings and in `gdro train`: short forms, options written out, what does not
go with one, and what the record shows."""

from __future__ import annotations

import json
from typing import get_args

import pytest

from forked import TWO_STEPS, gdro
from gdro.config import ConfigError, load_config
from gdro.config.schema import ObjectiveConfig
from gdro.engines.compat import GROUP_LOSSES
from gdro.objectives import OBJECTIVES
from gdro.objectives.rules import RowRule

SMALL = [*TWO_STEPS, "lr_scheduler_type=constant"]
RUNS = {
    "disco": (["objective=disco", "per_device_train_batch_size=16"], "questions_all_wrong"),
    "dagrpo": (["objective={name: dagrpo, anchors: answer}"], "anchors"),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_trains_with_an_objective(name, tmp_path):
    settings, metric = RUNS[name]
    sets = [
        part
        for one in (*SMALL, *settings, f"output_dir={tmp_path / 'run'}")
        for part in ("--set", one)
    ]
    done = gdro("train", *sets)
    assert done.returncode == 0, done.stderr
    events = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    steps = [event for event in events if event["event"] == "step"]
    assert len(steps) == 2
    assert any(step["grad_norm"] > 0 for step in steps)
    assert all(metric in step["objective"] for step in steps)


def test_the_names_are_those_of_the_registry() -> None:
    assert get_args(ObjectiveConfig.model_fields["name"].annotation) == tuple(OBJECTIVES)
    losses = tuple(name for name, kind in OBJECTIVES.items() if not issubclass(kind, RowRule))
    assert tuple(sorted(GROUP_LOSSES)) == tuple(sorted(losses))


def test_a_name_alone_and_a_section_mean_the_same_and_options_are_written_out() -> None:
    short = load_config(None, ["objective=disco"])
    assert short == load_config(None, ["objective.name=disco"])
    assert short.objective.options["beta"] == 1000.0
    basic = load_config(None, ["objective={name: disco, basic: true}", "objective.delta=0.01"])
    assert (basic.objective.options["basic"], basic.objective.options["delta"]) == (True, 0.01)
    assert load_config().objective.name == "grpo"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["objective=ppo"], r"objective\.name = 'ppo'"),
        (["objective.tau=1"], r"objective\.tau.*'grpo' has no option"),
        (["objective=disco", "objective.clip=1"], r"objective\.clip.*has no option 'clip'"),
        (["objective=disco", "objective.tau=-1"], r"objective\.tau.*at least 1e-6"),
        (["objective=disco", "beta=0.1"], r"beta.*must be 0 with objective disco"),
        (["objective=disco", "controller=paper"], r"controller.*prompt's surrogate loss"),
        (["objective=dagrpo", "objective.fine=other"], r"objective\.fine.*reward stands for f"),
        (["objective=dagrpo", "objective.anchors=proof"], r"objective\.anchors.*none of answer"),
        (["objective=dppo", "objective.prune=0.95"], r"objective\.prune.*\[0, 0\.9\]"),
    ],
)
def test_what_is_wrong_is_told_with_its_key(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, settings)
