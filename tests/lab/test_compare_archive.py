"""Packing a comparison: what comes back is what went in, ragged or not, and what does not fit is
refused."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
from fake_comparison import make, write_evaluation, write_record
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gdro.core.errors import RunError
from gdro.io import flat
from gdro.lab import compare
from gdro.lab.compare_archive import (
    COSTS,
    OUTCOMES,
    SINCE,
    _factored,
    is_archive,
    load_archive,
    published_settings,
    save_archive,
)
from gdro.lab.compare_jobs import JobFolder
from gdro.lab.compare_plan import jobs_of, plan_text, read_plan
from gdro.lab.compare_record import comparison_of, read_comparison, when_and_where
from gdro.lab.compare_summary import summarize
from gdro.lab.compare_table import markdown
from gdro.report.read import RecordError


def settings_of(comparison):
    """Made-up settings of every run."""
    return {
        method: {
            seed: {
                "steps": 600,
                "seed": seed,
                "controller": {"name": method},
                "odd": seed == 2 and method == "other",
            }
            for seed in by_seed
        }
        for method, by_seed in comparison.runs.items()
    }


def same(one, other):
    assert one.keys() == other.keys()
    for method in one:
        assert one[method].keys() == other[method].keys()
        for seed, result in one[method].items():
            for name, value in dataclasses.asdict(result).items():
                np.testing.assert_array_equal(
                    value, getattr(other[method][seed], name), err_msg=name
                )


@pytest.fixture
def ragged(tmp_path):
    """A comparison of which one run is not finished."""
    plan = make(tmp_path / "runs", {"plain": 0.05, "other": 0.1})
    write_record(tmp_path / "runs" / "other" / "seed-1", end=False)
    return read_comparison(tmp_path / "runs", plan, {seed: {"": 10} for seed in plan.seeds})


def test_what_comes_back_is_what_went_in(ragged, tmp_path):
    folder = tmp_path / "published"
    save_archive(folder, ragged, settings_of(ragged))
    again = load_archive(folder)
    same(ragged.runs, again.runs)
    assert (again.missing, again.notes) == (("other seed 1",), ())
    assert again.training_sizes == ragged.training_sizes
    assert markdown(summarize(again)) == markdown(summarize(ragged))
    found = published_settings(folder)
    assert found == {
        m: {s: flat(v) for s, v in by.items()} for m, by in settings_of(ragged).items()
    }
    packed = (folder / OUTCOMES).read_bytes()
    save_archive(tmp_path / "twice", ragged, settings_of(ragged))
    assert (tmp_path / "twice" / OUTCOMES).read_bytes() == packed


def test_outcomes_of_another_study_are_no_comparison(ragged, tmp_path):
    np.savez(tmp_path / OUTCOMES, accuracy=np.zeros(3))
    assert not is_archive(tmp_path)
    assert not is_archive(tmp_path / "nowhere")
    save_archive(tmp_path / "published", ragged, settings_of(ragged))
    assert is_archive(tmp_path / "published")


def test_runs_with_fewer_evaluations_or_prompts_keep_their_own(ragged, tmp_path):
    """The file holds them as they are; whether they can be compared is the reader's question."""
    runs = {method: dict(by_seed) for method, by_seed in ragged.runs.items()}
    short = runs["other"][2]
    runs["other"][2] = dataclasses.replace(
        short,
        correct=short.correct[:2],
        **{name: getattr(short, name)[:2] for name in ("steps", *COSTS, *SINCE)},
    )
    save_archive(
        tmp_path / "published", dataclasses.replace(ragged, runs=runs), settings_of(ragged)
    )
    with pytest.raises(
        RecordError, match="other/seed-2: evaluated at other moments than the others"
    ):
        load_archive(tmp_path / "published")
    with np.load(tmp_path / "published" / OUTCOMES) as file:
        assert (file["correct"][1, 2, 2] == -1).all()
        assert (file["correct"][1, 2, :2] == short.correct[:2]).all()
        assert (file["correct"][1, 1] == -1).all()


def test_a_comparison_with_data_of_its_own_for_each_seed_comes_back(tmp_path):
    root = tmp_path / "runs"
    plan = make(root, {"plain": 0.05, "other": 0.1})
    for seed in plan.seeds:
        for path in root.glob(f"*/seed-{seed}/evaluations/*.jsonl"):
            rows = path.read_text().splitlines()[: 120 - seed]  # fewer prompts too
            path.write_text(
                "\n".join(row.replace('"id": "p', f'"id": "{seed}-p') for row in rows) + "\n"
            )
    with pytest.raises(RecordError, match="evaluated on other prompts"):
        read_comparison(root, plan)
    plan = plan.model_copy(
        update={"by_seed": tuple({"seed": s, "data.seed": s} for s in plan.seeds)}
    )
    comparison = read_comparison(root, plan)
    assert comparison.fresh_data
    save_archive(tmp_path / "published", comparison, settings_of(comparison))
    same(comparison.runs, load_archive(tmp_path / "published").runs)


def test_publishing_again_adds_and_never_changes(tmp_path):
    root, folder = tmp_path / "runs", tmp_path / "published"
    plan = make(root, {"plain": 0.05, "other": 0.1})
    whole = read_comparison(root, plan)
    first = plan.model_copy(update={"seeds": (0, 1)})
    early = comparison_of(
        first, {m: {s: by[s] for s in (0, 1)} for m, by in whole.runs.items()}, {}, root
    )
    save_archive(folder, early, settings_of(early))
    late = comparison_of(
        plan, {m: {s: r for s, r in by.items() if s} for m, by in whole.runs.items()}, {}, root
    )
    save_archive(folder, late, settings_of(late))
    same(load_archive(folder).runs, whole.runs)
    assert read_plan(folder / "plan.yaml") == plan
    with pytest.raises(RunError, match="has plain seed 2, which the new plan does not name"):
        save_archive(folder, early, settings_of(early))
    write_evaluation(root / "other" / "seed-1", 100, np.zeros(120, int))
    for kept in root.rglob("*.outcome.json"):
        kept.unlink()
    changed = read_comparison(root, plan)
    with pytest.raises(RunError, match="has other results for other seed 1"):
        save_archive(folder, changed, settings_of(changed))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").touch()
    with pytest.raises(RunError, match="is there and no published comparison"):
        save_archive(tmp_path / "full", whole, settings_of(whole))


@pytest.mark.parametrize("damage", ["cut", "format", "plan"])
def test_a_damaged_archive_is_named(ragged, tmp_path, damage):
    folder = tmp_path / "published"
    save_archive(folder, ragged, settings_of(ragged))
    path = folder / OUTCOMES
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif damage == "format":
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        np.savez_compressed(path, **arrays | {"dead": np.zeros((9, 9))})
    else:
        (folder / "plan.yaml").write_text(
            plan_text(ragged.plan.model_copy(update={"seeds": (0, 1)}))
        )
    with pytest.raises(
        RecordError, match=r"outcomes\.npz: .*(damaged|another format|does not name)"
    ):
        load_archive(folder)


def test_the_command_publishes_a_plan_that_needs_no_recipe(tmp_path, capsys):
    """From runs to a folder that trains the same by itself and reports the same, bit for bit."""
    root, folder = tmp_path / "runs", tmp_path / "published"
    plan = make(root, {"plain": 0.05, "better": 0.25}).model_copy(update={"ran": "today, here"})
    jobs = with_settings(root, plan)
    assert compare.main([str(root), "--publish", str(folder)]) == 0
    assert f"published in {folder}" in capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} == {
        "plan.yaml",
        OUTCOMES,
        "table.md",
        "figure.svg",
    }
    again = read_plan(folder / "plan.yaml")
    assert again.recipe is None
    assert jobs_of(again, folder) == jobs
    assert "today, here" in (folder / "table.md").read_text()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in ("table.md", "figure.svg"):
        (folder / name).unlink()
    shutil.rmtree(root)
    assert compare.main([str(folder), "--report"]) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def with_settings(root, plan):
    """The jobs of a plan, its file and the settings of its runs written."""
    (root / "plan.yaml").write_text(plan_text(plan))
    jobs = jobs_of(plan, root)
    for job in jobs:
        if JobFolder(root, job).run.path.exists():
            JobFolder(root, job).run.config.write_text(job.config.to_yaml())
    return jobs


def publish(root, folder):
    """What the published plan then says of when and where its runs were made."""
    assert compare.main([str(root), "--publish", str(folder)]) == 0
    return read_plan(folder / "plan.yaml").ran


HERE = "x86_64, 1 process, torch 2.13.0, code of commit abcdef0"


def test_the_published_plan_says_when_and_where_its_runs_were_made(tmp_path):
    root = tmp_path / "runs"
    plan = make(root, {"plain": 0.05, "better": 0.25})
    write_record(root / "better" / "seed-2", end=True, began="2026-11-28T00:00:10+00:00")
    with_settings(root, plan)
    assert publish(root, tmp_path / "whole") == f"2026-11-27 to 2026-11-28 on {HERE}"
    assert f"Run 2026-11-27 to 2026-11-28 on {HERE}." in (tmp_path / "whole/table.md").read_text()
    shutil.rmtree(root / "better" / "seed-2")  # what it left beside it says the same
    shutil.copy(root / "better" / "seed-1" / "config.yaml", root / "better" / "seed-2.yaml")
    settings = (root / "better" / "seed-2.yaml").read_text().replace("seed: 1", "seed: 2")
    (root / "better" / "seed-2.yaml").write_text(settings.replace("seed-1", "seed-2"))
    assert publish(root, tmp_path / "gone") == f"2026-11-27 to 2026-11-28 on {HERE}"


def test_a_plan_keeps_what_it_says_of_when_and_where(tmp_path):
    root, folder = tmp_path / "runs", tmp_path / "published"
    plan = make(root, {"plain": 0.05, "better": 0.25})
    with_settings(root, plan.model_copy(update={"seeds": (0, 1)}))
    publish(root, folder)
    by_hand = read_plan(folder / "plan.yaml").model_copy(update={"ran": "by hand"})
    (folder / "plan.yaml").write_text(plan_text(by_hand))
    assert publish(root, folder) == "by hand"
    with_settings(root, plan)
    assert publish(root, folder) == f"by hand; 2026-11-27 on {HERE}", "of the seeds added"
    with_settings(root, plan.model_copy(update={"ran": "as the plan says"}))
    assert publish(root, folder) == "as the plan says"


def test_runs_whose_records_do_not_say_when_are_counted(tmp_path):
    root = tmp_path / "runs"
    plan = make(root, {"plain": 0.05, "better": 0.25})
    runs = [(method, seed) for method in plan.methods for seed in plan.seeds]
    record = root / "plain" / "seed-0" / "metrics.jsonl"
    record.write_text(record.read_text().replace('"machine"', '"other"'))
    said = when_and_where(root, runs)
    assert said == f"2026-11-27 on {HERE}; when and where 1 of 6 runs began is not recorded"
    assert when_and_where(root, runs[:1]) == "when and where the runs began is not recorded"
    record.write_text(
        (root / "plain" / "seed-1" / "metrics.jsonl").read_text().replace('"abcdef0"', "null")
    )
    assert when_and_where(root, runs[:2]).endswith("code of commit abcdef0 and gdro 0")


VALUES = st.sampled_from([1, 2, "a", None, [1, 2]])
SETTINGS = st.dictionaries(
    st.tuples(st.sampled_from("mno"), st.integers(0, 3)),
    st.dictionaries(st.sampled_from(["a", "b.c", "b.d", "e"]), VALUES),
    min_size=1,
)


@given(SETTINGS)
@hypothesis_settings(max_examples=100)
def test_factored_settings_give_every_run_its_own_back(settings):
    parts = _factored(settings)
    for (method, seed), wanted in settings.items():
        own = parts["runs"].get(method, {}).get(str(seed), {})
        assert (
            parts["common"] | parts["methods"][method] | parts["seeds"][str(seed)] | own == wanted
        )
    written = [parts["common"], *parts["methods"].values(), *parts["seeds"].values()]
    count = sum(map(len, written)) + sum(
        len(own) for by_seed in parts["runs"].values() for own in by_seed.values()
    )
    assert count <= sum(map(len, settings.values()))


@pytest.fixture
def kept(tmp_path):
    """(folder without runs, plan, table made from the runs)."""
    plan = make(tmp_path, {"plain": 0.05, "better": 0.25})
    table = markdown(summarize(read_comparison(tmp_path, plan)))
    for job in jobs_of(plan, tmp_path):
        place = JobFolder(tmp_path, job)
        place.beside("yaml").write_text(job.config.to_yaml())
        shutil.rmtree(place.run.path)
    (tmp_path / "plan.yaml").write_text(plan_text(plan))
    return tmp_path, plan, table


def test_the_same_table_without_the_runs(kept, capsys):
    root, plan, table = kept
    assert markdown(summarize(read_comparison(root, plan))) == table
    assert {place.state() for place in (JobFolder(root, job) for job in jobs_of(plan, root))} == {
        "done"
    }
    assert compare.main([str(root)]) == 0  # nothing is trained again
    said = capsys.readouterr().out
    assert "6 runs, 0 to do" in said
    assert table in said
    size = sum(path.stat().st_size for path in root.rglob("*.outcome.json"))
    assert size < 6 * 2_000


def test_an_outcome_of_other_settings_is_refused(kept):
    root, plan, _ = kept
    place = JobFolder(root, jobs_of(plan, root)[0])
    place.beside("yaml").write_text(place.job.config.to_yaml().replace("steps: 600", "steps: 599"))
    for words in ([str(root)], [str(root), "--report"]):
        with pytest.raises(
            RunError, match=r"seed-0 was trained with other settings than the plan's: max_steps"
        ):
            compare.main(words)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda values: values.pop("tokens"), "damaged"),
        (lambda values: values.update(format=99), "another format"),
        (lambda values: values.update(ids=values["ids"][:12] + "0" * 52), "other prompts"),
        (lambda values: values.update(ids="0" * 64), "damaged"),
        (lambda values: values["correct"].pop(), "another format"),
        (lambda values: values.update(steps="many"), "damaged"),
    ],
)
def test_a_damaged_outcome_is_named(kept, damage, said):
    root, plan, _ = kept
    path = root / "better" / "seed-1.outcome.json"
    values = json.loads(path.read_text())
    damage(values)
    path.write_text(json.dumps(values))
    with pytest.raises(RecordError, match=rf"(?s)seed-1.outcome.json.*{said}.*train"):
        read_comparison(root, plan)


def test_a_number_that_was_not_measured_stays_so(tmp_path):
    plan = make(tmp_path, {"plain": 0.05}, seeds=(0,))
    record = tmp_path / "plain" / "seed-0" / "metrics.jsonl"
    record.write_text(record.read_text().replace('"zero_variance_share": 0.25', '"other": 0.25'))
    assert np.isnan(read_comparison(tmp_path, plan).runs["plain"][0].dead)
    shutil.rmtree(tmp_path / "plain" / "seed-0")
    outcome = read_comparison(tmp_path, plan).runs["plain"][0]
    assert np.isnan(outcome.dead)
    assert np.isnan(outcome.training_reward)
