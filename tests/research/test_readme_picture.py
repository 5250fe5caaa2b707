"""The picture of a run stands alone, whatever the controller, and refuses what it cannot draw."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest
from fake_record import FakeRun, write

from gdro.report import RecordError
from readme_picture import main, picture


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write(tmp_path_factory.mktemp("run"), FakeRun(60))


def test_the_picture_stands_alone(run, tmp_path):
    path = picture(run, tmp_path / "run.svg")
    text = path.read_text(encoding="utf-8")
    assert "var(" not in text
    assert "data-hover" not in text
    assert ElementTree.fromstring(text).tag.endswith("svg")
    assert text == picture(run, tmp_path / "again.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("controller", ["uniform", "prompt_gdro", "rollout_gdro"])
def test_the_picture_of_other_controllers(tmp_path, controller):
    write(tmp_path, FakeRun(20, controller=controller))
    ElementTree.fromstring(picture(tmp_path, tmp_path / "p.svg").read_text(encoding="utf-8"))


def test_the_picture_refuses_what_it_cannot_draw(run, tmp_path):
    with pytest.raises(RecordError, match=r"\.svg"):
        picture(run, tmp_path / "run.png")
    (tmp_path / "metrics.jsonl").write_text(json.dumps(next(iter(FakeRun(5).events()))) + "\n")
    with pytest.raises(RecordError, match="no training step"):
        picture(tmp_path, tmp_path / "run.svg")


def test_the_command_says_where_the_picture_is(run, tmp_path, capsys):
    main([str(run), str(tmp_path / "run.svg")])
    assert capsys.readouterr().out == f"{tmp_path / 'run.svg'}\n"
