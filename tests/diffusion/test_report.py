"""The page from a record written by hand: what it warns of, and that nothing missing breaks it."""

from xml.etree import ElementTree

import pytest
import torch
from safetensors.torch import save_file

from gdro.core.errors import DiffusionError
from gdro.diffusion.record import Folder
from gdro.diffusion.report import write_report
from gdro.io import RecordWriter

CONFIG = {
    "name": "x",
    "loss_type": "gdro",
    "group_size": 6,
    "beta": 12.0,
    "tau": 0.05,
    "gamma": 0.5,
    "mode": "full",
    "reward": "r.py:f",
    "judge": "j.py:f",
}


def written(path, evaluations, steps=()):
    path.mkdir()
    (path / "samples").mkdir()
    record = RecordWriter(Folder(path).record)
    record.write("start", version="1", config=CONFIG, base="abc")
    for step, fields in enumerate(steps, start=1):
        record.write("step", step=step, **fields)
    for number, fields in enumerate(evaluations):
        step = 10 * number
        values = {"reward": 0.5, "judge": 0.5, "drift": 0.01, "diversity": 0.2} | fields
        record.write(
            "evaluation", step=step, reward_by_prompt={"a <b>": values["reward"]}, **values
        )
        save_file(
            {"images": torch.zeros(4, 8, 8, 3, dtype=torch.uint8)}, Folder(path).samples(step)
        )
    record.close()
    return write_report(path).read_text()


def test_a_hacked_reward_and_a_collapse_are_told(tmp_path):
    errors = {
        "winner_err": 0.4,
        "winner_err_ref": 0.2,
        "loser_err": 0.6,
        "loser_err_ref": 0.2,
        "rank_agreement": 0.9,
    }
    page = written(
        tmp_path / "bad", [{}, {"reward": 0.9, "judge": 0.3, "diversity": 0.1}], [errors] * 10
    )
    assert "the reward is being hacked" in page
    assert "much more alike" in page
    assert "less likely than under the base" in page
    calm = written(
        tmp_path / "good", [{}, {"reward": 0.9, "judge": 0.8}], [errors | {"winner_err": 0.21}] * 10
    )
    assert 'role="alert"' not in calm
    assert "a &lt;b&gt;" in calm


@pytest.mark.parametrize("nothing", ["reward", "judge", "drift", "diversity"])
def test_a_measure_that_was_never_known_breaks_nothing(tmp_path, nothing):
    step = dict.fromkeys(
        ("winner_err", "winner_err_ref", "loser_err", "loser_err_ref", "rank_agreement"),
        float("nan"),
    )
    page = written(tmp_path / "run", [{nothing: float("nan")}] * 2, [step])
    charts = [part.partition("</svg>")[0] + "</svg>" for part in page.split("<svg ")[1:]]
    assert len(charts) == 6
    for chart in charts:
        root = ElementTree.fromstring("<svg " + chart)
        assert not any(
            "nan" in value.lower() for node in root.iter() for value in node.attrib.values()
        )


def test_a_run_without_an_evaluation_has_nothing_to_show(tmp_path):
    with pytest.raises(DiffusionError, match="no evaluation"):
        written(tmp_path / "run", [])
