"""A controller of the user's, from a file: taken by every door, and refused with what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

import gdro
from gdro.config import ConfigError, load_config
from gdro.config import controller_of as controller_of_run
from gdro.engines.trl.config import GDROConfig, default_controller
from gdro.lab.compare_plan import jobs_of, read_plan
from gdro.lab.simulation import controller_of

BEHIND = f"{Path(__file__).parents[2] / 'examples' / 'own_part.py'}:Behind"

HEAD = """from dataclasses import dataclass
from typing import ClassVar
import gdro
"""


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
