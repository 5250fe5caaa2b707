"""Claims: decided by the rule of the plan, adjusted together, in the plan's own words."""

from __future__ import annotations

import pytest
from fake_comparison import make

from gdro.config.base import ConfigError
from gdro.lab.compare_claims import verdicts
from gdro.lab.compare_page import page
from gdro.lab.compare_plan import Claim, read_plan
from gdro.lab.compare_record import read_comparison
from gdro.lab.compare_summary import summarize
from gdro.lab.compare_table import markdown
from gdro.lab.stats import Estimate
from gdro.report.read import RecordError

WORDS = {"win": "it adds {gap}", "open": "not decided: {gap}", "loss": "it costs {relative}"}


def claim(method="better", against="plain", score="mean_at_k", **more):
    return Claim(method=method, against=against, score=score, **WORDS, **more)


def decide(gap, before=0.5, others=(), **more):
    """The verdict on one difference, beside others of the same comparison."""
    gaps = [gap, *others]
    claims = [claim(**more), *(claim() for _ in others)]
    methods = {name: {"scores": {"mean_at_k": {"value": before}}} for name in ("plain", "better")}
    return (
        verdicts(claims, lambda one: next(iter_gaps), lambda one: before, methods)[0]
        if (iter_gaps := iter(gaps))
        else None
    )


@pytest.mark.parametrize(
    ("gap", "more", "verdict", "words"),
    [
        (Estimate(0.1, 0.05, 0.15, 0.001), {}, "win", "it adds **+0.100 ± 0.050**"),
        (Estimate(-0.1, -0.15, -0.05, 0.001), {}, "loss", "it costs -20.0 %"),
        (Estimate(0.02, -0.03, 0.07, 0.4), {}, "open", "not decided: +0.020 ± 0.050"),
        (
            Estimate(0.02, 0.01, 0.03, 0.001),
            {"least": 0.05, "excluded": "below {relative}"},
            "open",
            None,
        ),
        (
            Estimate(0.01, -0.01, 0.02, 0.3),
            {"least": 0.05, "excluded": "under 5 %"},
            "excluded",
            "under 5 %",
        ),
        (Estimate(0.03, 0.01, 0.05, 0.001), {"least": 0.05, "excluded": "x"}, "win", None),
        (Estimate(0.1, float("nan"), float("nan")), {}, "open", None),
    ],
)
def test_each_verdict(gap, more, verdict, words):
    found = decide(gap, **more)
    assert found["verdict"] == verdict
    assert words is None or found["words"] == words


def test_what_is_clear_alone_need_not_be_clear_among_others():
    gap, noise = Estimate(0.1, 0.01, 0.19, 0.03), Estimate(0.0, -0.1, 0.1, 0.9)
    assert decide(gap)["verdict"] == "win"
    beside = decide(gap, others=[noise])
    assert (beside["verdict"], beside["p_adjusted"]) == ("open", pytest.approx(0.06))


def test_a_comparison_says_what_its_plan_had_for_it(tmp_path):
    plan = make(tmp_path, {"plain": 0.05, "better": 0.25, "same": 0.05})
    plan = plan.model_copy(update={"claims": (claim(), claim("same"))})
    summary = summarize(read_comparison(tmp_path, plan))
    assert [entry["verdict"] for entry in summary["claims"]] == ["win", "open"]
    text = markdown(summary)
    assert "| `better` - `plain`, mean@8 | **+0.1" in text
    assert "it adds **+0.1" in text
    assert "Claim stated before the runs: it adds +0.1" in page(summary)
    with pytest.raises(RecordError, match="no score mean_at_9; there are pass_at_k"):
        summarize(
            read_comparison(
                tmp_path, plan.model_copy(update={"claims": (claim(score="mean_at_9"),)})
            )
        )


def test_nothing_is_claimed_before_every_method_has_a_run(tmp_path):
    plan = make(tmp_path, {"plain": 0.05, "better": 0.25})
    late = plan.model_copy(
        update={"methods": plan.methods | {"late": {}}, "claims": (claim("late"), claim())}
    )
    assert summarize(read_comparison(tmp_path, late))["claims"] == []


def test_nothing_is_claimed_of_methods_without_a_common_seed(tmp_path):
    plan = make(tmp_path, {"plain": 0.05, "better": 0.25, "other": 0.2}, seeds=(0, 1))
    for method, seed in (("better", 1), ("other", 0)):
        (tmp_path / method / f"seed-{seed}" / "metrics.jsonl").unlink()
    apart = plan.model_copy(update={"claims": (claim("better", "other"), claim())})
    summary = summarize(read_comparison(tmp_path, apart))
    assert summary["claims"] == []
    assert "± nan" not in markdown(summary) + page(summary)
    assert "`better` 1, `other` 1" in markdown(summary)


def test_a_relative_gain_is_of_the_seeds_that_both_have(tmp_path):
    plan = make(tmp_path, {"plain": 0.05, "better": 0.25}, seeds=(0, 1, 2))
    (tmp_path / "better" / "seed-1" / "metrics.jsonl").unlink()
    words = claim().model_copy(update={"win": "{relative}", "open": "{relative}"})
    summary = summarize(read_comparison(tmp_path, plan.model_copy(update={"claims": (words,)})))
    gap = summary["methods"]["better"]["scores"]["mean_at_k"]["difference"]
    assert summary["claims"][0]["words"] == f"{100 * gap['relative']:+.1f} %"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("method: bettre", "bettre is no method of this plan"),
        ("method: b, least: 0.05", "give `excluded` and a `least` above 0 together"),
        ("method: b, excluded: x", "give `excluded` and a `least` above 0 together"),
    ],
)
def test_a_claim_that_makes_no_sense_is_refused(tmp_path, lines, said):
    path = tmp_path / "plan.yaml"
    path.write_text(
        "name: a\nseeds: [0]\nmethods: {a: {controller: uniform}, b: {controller: joint}}\n"
        f"claims: [{{{lines}, against: a, score: pass_at_k, win: w, open: o, loss: l}}]\n"
    )
    with pytest.raises(ConfigError, match=said):
        read_plan(path)
