"""A controller of the user's, from a file: taken by every door, and refused with what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

import gdro
from gdro.config import ConfigError, load_config
from gdro.config import controller_of as controller_of_run
from gdro.controllers.controller import Controller, Parts
from gdro.controllers.part import BETA
from gdro.controllers.parts.estimators import Classifier
from gdro.engines.trl.config import GDROConfig, default_controller
from gdro.lab.compare_plan import jobs_of, read_plan
from gdro.lab.simulation import controller_of

BEHIND = f"{Path(__file__).parents[2] / 'examples' / 'own_part.py'}:Behind"

HEAD = """from dataclasses import dataclass
from typing import ClassVar
import gdro
"""


@dataclass(kw_only=True, eq=False)
class ByRate(gdro.Selector):
    """Reads the success rate, which is NaN where nothing is known."""

    name: ClassVar[str] = "by_rate"

    def rank(self, batch):
        return batch.belief.rate


@dataclass(kw_only=True, eq=False)
class ByPosterior(gdro.Selector):
    """Reads a posterior that it does not ask for."""

    name: ClassVar[str] = "by_posterior"

    def rank(self, batch):
        a, b = batch.belief.beta
        return a / (a + b)


@dataclass(kw_only=True, eq=False)
class Asking(ByPosterior):
    """The same, which asks."""

    needs: ClassVar = frozenset({BETA})
    name: ClassVar[str] = "asking"


def test_every_door_takes_it(tmp_path):
    config = load_config(None, [f"controller={BEHIND}", "controller.boost=4"])
    assert config.controller.options["boost"] == 4
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        f"name: a\nseeds: [1]\nmethods: {{mine: {{controller: {{name: '{BEHIND}', boost:"
        " 4.0}}}\n"
    )
    (job,) = jobs_of(read_plan(plan), tmp_path)
    made = [
        gdro.make_controller(BEHIND, boost=4.0),
        controller_of(f"{BEHIND}:boost=4"),
        controller_of_run(config),
        controller_of_run(job.config),
        default_controller(
            GDROConfig(
                str(tmp_path),
                controller=BEHIND,
                controller_options={"boost": 4.0},
                bf16=False,
                use_cpu=True,
            )
        ),
    ]
    assert {one.parts.weigher.boost for one in made} == {4.0}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Mine = 3", "is neither a part nor a preset"),
        ("Other = 3", "has no part 'Mine'"),
        ("class Mine(gdro.Weigher): pass", "a saved state goes by a name of its own"),
        (
            "class Mine(gdro.Weigher):\n    boost: float = 1.0\n    name: ClassVar[str] = 'mine'",
            "boost is no option yet; write @dataclass",
        ),
    ],
)
def test_what_is_wrong_with_it_is_said(tmp_path, text, said):
    file = tmp_path / "mine.py"
    file.write_text(f"{HEAD}\n\n{text}\n")
    with pytest.raises(gdro.OptionError, match=said):
        gdro.make_controller(f"{file}:Mine")
    with pytest.raises(ConfigError, match=f"controller.name.*{said}"):
        load_config(None, [f"controller={file}:Mine"])


def test_a_file_that_is_not_there_and_an_option_that_is_not():
    with pytest.raises(
        ConfigError, match=r"controller.name.*file 'nowhere/mine.py' does not exist"
    ):
        load_config(None, ["controller=nowhere/mine.py:Mine"])
    with pytest.raises(ConfigError, match=r"controller.bost.*did you mean 'boost'\?"):
        load_config(None, [f"controller={BEHIND}", "controller.bost=4"])


@pytest.mark.parametrize("selector", [ByRate, ByPosterior])
def test_a_part_that_reads_what_it_did_not_ask_for_is_told_how_to_ask(selector):
    controller = Controller(
        Parts(estimator=Classifier(statistic="mean_reward"), selector=selector())
    )
    with pytest.raises(gdro.HookError) as caught:
        controller.select(["s/1", "s/2"], 1)
    assert "needs: ClassVar = frozenset({BETA})" in str(caught.value)
    asks = gdro.make_controller({"selector": Asking()})
    assert sorted(asks.select(["s/1", "s/2"], 2)) == ["s/1", "s/2"]
