"""The objective section: short forms, options written out, and what does not go with it."""

from __future__ import annotations

from typing import get_args

import pytest

from gdro.config import ConfigError, load_config
from gdro.config.objectives import GROUP_LOSSES
from gdro.config.schema import ObjectiveConfig
from gdro.objectives import OBJECTIVES
from gdro.objectives.rules import RowRule


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
        (["objective.tau=1"], r"objective\.tau.*grpo has no options"),
        (["objective=disco", "objective.clip=1"], r"objective\.clip.*has no option 'clip'"),
        (["objective=disco", "objective.tau=-1"], r"objective\.tau.*must be positive"),
        (["objective=disco", "beta=0.1"], r"beta.*must be 0 with objective disco"),
        (["objective=disco", "controller=paper"], r"controller.*surrogate losses"),
        (["objective=dagrpo", "objective.fine=other"], r"objective\.fine.*reward stands for f"),
        (["objective=dagrpo", "objective.anchors=proof"], r"objective\.anchors.*none of answer"),
        (["objective=dppo", "objective.prune=0.95"], r"objective\.prune.*\[0, 0\.9\]"),
    ],
)
def test_what_is_wrong_is_told_with_its_key(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, settings)
