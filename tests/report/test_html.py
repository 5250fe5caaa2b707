"""The page: complete, self-contained, honest about what is missing, equal bytes for an equal
record."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from xml.etree import ElementTree

import pytest
from fake_record import FakeRun, clean, write

from gdro.report import RecordError, write_report
from gdro.report.html import SECTIONS
from gdro.report.palette import dark, light

EVERY_FIGURE = {
    *(
        "wave",
        "triptych",
        "frontier",
        "shares",
        "indices",
        "lead-lag",
        "snapshots",
        "wse",
        "price",
        "regret",
        "chosen",
    ),
    *("curves", "checkpoints", "worst", "before-after", "verifier", "seconds"),
}


def page_of(folder):
    return write_report(folder).read_text(encoding="utf-8")


def with_events(folder, events):
    folder.mkdir(exist_ok=True)
    (folder / "metrics.jsonl").write_text("\n".join(json.dumps(clean(event)) for event in events))
    return page_of(folder)


def figures(page):
    return re.findall(r'<figure id="([\w-]+)"', page)


def test_every_figure_is_there_and_the_wave_is_first(run):
    page = page_of(run)
    assert set(figures(page)) == EVERY_FIGURE
    assert figures(page)[:2] == ["wave", "triptych"]
    assert sum(len(makers) for _, makers in SECTIONS) == len(EVERY_FIGURE)
    assert "left-out" not in re.sub(r"<style>.*?</style>", "", page, flags=re.S)


def test_a_tier_has_no_interval_since_its_prompts_were_chosen_by_their_answers_before(run):
    rows = re.findall(r'<tr><th scope="row".*?</tr>', page_of(run))
    assert any(">tier 0<" in row for row in rows)
    for row in rows:
        assert ('class="ci"' in row) == (">tier " not in row)


def test_nothing_is_requested_from_outside(run):
    page = page_of(run)
    assert not re.search(
        r"(src|href|xlink:href)\s*=|@import|url\(|https?://|fetch\(|<link|<img", page
    )


def test_same_record_same_bytes(run, tmp_path):
    shutil.copytree(run, tmp_path / "copy")
    assert page_of(run) == page_of(tmp_path / "copy")


def test_the_svgs_are_well_formed_named_and_described(run):
    page = page_of(run)
    svgs = re.findall(r"<svg.*?</svg>", page, flags=re.S)
    assert len(svgs) > 20
    for svg in svgs:
        root = ElementTree.fromstring(svg)
        assert root.find("title").text
        assert root.find("desc").text
        if "data-hover" in root.attrib:
            hover = json.loads(root.attrib["data-hover"])
            assert len(hover["at"]) == len(hover["x"]) + 1
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_every_colour_is_in_both_themes(run):
    used = set(re.findall(r"var\(--(\w+)\)", page_of(run)))
    assert used <= set(light())
    assert set(light()) == set(dark())


def test_no_nan_reaches_the_drawing(run):
    assert not re.search(r"\bnan\b|\binf\b", page_of(run), flags=re.I)


@pytest.mark.parametrize(
    ("controller", "missing"),
    [
        ("uniform", {"frontier", "shares", "wse", "price", "lead-lag", "regret"}),
        ("prompt_gdro", {"frontier", "shares", "wse", "price"}),
        ("rollout_gdro", {"lead-lag", "regret"}),
    ],
)
def test_what_a_controller_does_not_produce_is_left_out_with_a_reason(
    tmp_path, controller, missing
):
    page = page_of(write(tmp_path, FakeRun(30, controller=controller)))
    assert set(figures(page)) == EVERY_FIGURE - missing
    assert page.count("is left out:") == len(missing)


def test_an_inert_signal_is_said_prominently(tmp_path):
    page = page_of(write(tmp_path, FakeRun(30, informative=0)))
    assert 'class="alert"' in page
    assert "controller.signal=failure" in page
    assert page.index('class="alert"') < page.index("<table")


def test_an_informative_signal_raises_no_alarm(run):
    assert 'class="alert"' not in page_of(run)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_run_that_has_just_begun(tmp_path, count):
    page = with_events(tmp_path, list(FakeRun(30).events())[:count])
    assert "No training step" in page
    assert "<table" not in page


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_short_runs(tmp_path, steps):
    page = page_of(write(tmp_path, FakeRun(steps)))
    assert set(figures(page)) == EVERY_FIGURE
    assert not re.search(r"\bnan\b", page, flags=re.I)


def test_without_evaluations(tmp_path):
    page = with_events(tmp_path, [e for e in FakeRun(30).events() if e["event"] != "evaluation"])
    assert "has not been evaluated" in page
    assert "wave" in figures(page)


def test_steps_of_nothing_but_numbers_that_are_missing(tmp_path):
    start = next(FakeRun(3).events())
    empty = {"share": [None] * 10, "weight": [None] * 10, "mass": [None] * 10, "regret": None}
    events = [
        start,
        *({"event": "step", "step": n, "loss": None, "controller": empty} for n in (1, 2)),
    ]
    assert figures(with_events(tmp_path, events)) == []


@pytest.mark.parametrize("unseen", [10, 30])
def test_a_first_epoch_in_which_no_prompt_has_a_bin(tmp_path, unseen):
    events = list(FakeRun(30).events())
    for event in events:
        if event["event"] == "step" and event["step"] <= unseen:
            lists = {
                key: [None] * 10
                for key in ("reward", "pass_rate", "variance", "rollouts", "weight")
            }
            event["controller"] |= {
                **lists,
                "share": [0.0] * 10,
                "mass": [0.0] * 10,
                "wse": None,
                "wse_uniform": None,
            }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = with_events(tmp_path, events)
    assert not re.search(r"\bnan\b", page, flags=re.I)
    if unseen == 10:
        assert set(figures(page)) == EVERY_FIGURE
        assert "Start: steps 11–" in page
    else:
        assert "wave" not in figures(page)


def test_names_from_the_record_cannot_break_the_page(tmp_path):
    bad = "<script>alert('x')</script>&\"'$name"
    events = list(FakeRun(6).events())
    events[0]["config"]["run_name"] = bad
    for event in events:
        if event["event"] == "evaluation":
            event["by_source"] = {bad: event["by_source"]["chain_sum"]}
        if event["event"] == "step":
            event["verifier"] = {bad: 3}
    page = with_events(tmp_path, events)
    assert "<script>alert" not in page
    assert page.count("<script>") == 1


def test_a_long_run_stays_small(tmp_path):
    events = list(FakeRun(12).events())
    steps = [event for event in events if event["event"] == "step"]
    long = [{**steps[n % 12], "step": n + 1} for n in range(1500)]
    page = with_events(tmp_path, [events[0], events[1], *long, {**events[1], "step": 1500}])
    assert len(page) < 2_000_000
    assert "mean of up to 15 steps" in page


def test_a_page_that_cannot_be_written_is_a_clear_error(run, tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes((run / "metrics.jsonl").read_bytes())
    (tmp_path / "report.html").mkdir()
    with pytest.raises(RecordError, match="cannot be written"):
        write_report(tmp_path)
    assert not list(tmp_path.glob(".report*"))
