"""`gdro report A B ...`: up to four runs on one page, from their records alone.

One seed each: a difference between two runs may be that of their seeds. `gdro compare` trains
several seeds of each method, and is the place for claims.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from gdro.core.diagnostics import by_checkpoint, read_interval
from gdro.core.passk import bootstrap
from gdro.core.types import Floats
from gdro.io import flat, write_atomic
from gdro.report.chart import Chart, extent
from gdro.report.figures_training import samples_a_prompt, source_groups
from gdro.report.findings import findings
from gdro.report.html import finding_list
from gdro.report.palette import fill_page
from gdro.report.panels import Blocks, last_known
from gdro.report.read import Record, RecordError, mapping, number, read_evaluation, read_record
from gdro.report.summary import arrow, change, gain, plain, signed

MOST = 4
"""Runs that the colours and dashes of a chart tell apart."""
CURVES = {
    "reward": "Mean reward of a rollout",
    "zero_variance_share": "Groups without gradient",
    "entropy": "Entropy of the policy",
    "completion_length": "Tokens of a completion",
}


@dataclass(frozen=True)
class NamedRun:
    """A run under its name on the page."""

    name: str
    record: Record
    letter: str = "A"

    @property
    def head(self) -> str:
        """Letter and name; charts have room for the letter alone."""
        return f"{self.letter}: {self.name}"

    @property
    def last(self) -> Mapping[str, object]:
        """The last evaluation, empty without one."""
        return self.record.evaluations[-1] if self.record.evaluations else {}


def write_side_by_side(folders: Sequence[Path | str], output: Path | str | None = None) -> Path:
    """Write a page that sets two to four runs side by side.

    Args:
        folders: of the runs.
        output: the page; by default NAME-NAME.html beside the first run.

    Raises:
        RecordError: too many runs, one given twice, a record that cannot be read, or a page that
            cannot be written.
    """
    if not 2 <= len(folders) <= MOST:
        raise RecordError(
            f"{len(folders)} runs: a page sets two to {MOST} side by side. For methods x seeds"
            " there is gdro compare"
        )
    records = [read_record(folder) for folder in folders]
    places = [record.path.resolve().parent for record in records]
    if len(set(places)) < len(places):
        raise RecordError("the same run is given twice; a run is compared with another one")
    names = [place.name for place in places]
    if len(set(names)) < len(names):
        names = ["/".join(place.parts[-2:]) for place in places]
    rows = zip(names, records, "ABCD", strict=False)
    runs = [NamedRun(name, record, letter) for name, record, letter in rows]
    path = places[0].parent / f"{'-'.join(p.name for p in places)}.html"
    path = path if output is None else Path(output)
    try:
        write_atomic(path, side_by_side(runs))
    except OSError as error:
        raise RecordError(f"{path}: cannot be written ({error.strerror})") from error
    return path


def side_by_side(runs: Sequence[NamedRun]) -> str:
    """The page as one string: no link or request leaves it."""
    return fill_page(
        "side_by_side.html",
        title=escape(" against ".join(run.name for run in runs)),
        notes="".join(f"<li>{escape(note)}</li>" for note in notes(runs)),
        results=_table(["", *(run.head for run in runs)], result_rows(runs)),
        charts=_charts(runs),
        sources=_sources(runs),
        settings=_table(["Setting", *(run.head for run in runs)], setting_rows(runs)),
        look="".join(_look(run) for run in runs),
    )


def notes(runs: Sequence[NamedRun]) -> list[str]:
    """What to know before the figures are compared."""
    said = [
        "One run each: a difference may be that of the seeds. gdro compare trains several seeds of"
        " each method."
    ]
    prints = {mapping(run.record.start.get("fingerprints")).get("held-out") for run in runs}
    ks = {samples_a_prompt(run.record) for run in runs if run.record.evaluations}
    if len(prints) > 1:
        said.append(
            "The held-out prompts are not the same in all runs: their scores cannot be compared."
        )
    if len(ks) > 1:
        said.append(f"The evaluations drew {', '.join(map(str, sorted(ks)))} samples a prompt.")
    # a run without a step has spent none
    spent = {
        last_known(run.record.scalar("rollouts_total")) if len(run.record.steps) else 0.0
        for run in runs
    }
    if len(spent) > 1:
        said.append("The runs spent different numbers of rollouts.")
    return said


def result_rows(runs: Sequence[NamedRun]) -> list[list[str]]:
    """Scores and costs, one row a quantity, one cell a run."""
    rows = []
    for key, name in (("mean_at_k", "mean"), ("pass_at_k", "pass")):
        ks = {samples_a_prompt(run.record) for run in runs if run.record.evaluations}
        k = ks.pop() if len(ks) == 1 else "k"
        rows.append([f"{name}@{k}, before and after", *(_change(run, key) for run in runs)])
        rows.append([f"{name}@{k} against {runs[0].letter}, same prompts", *_against(runs, key)])
    worst = [read_interval(mapping(run.last.get("worst_bin")).get("mean_at_k"))[0] for run in runs]
    rows.append(["mean of the worst tier, after", *map(plain, worst)])
    for key, name in (("rollouts_total", "rollouts"), ("tokens_total", "tokens")):
        rows.append([name, *(_count(last_known(run.record.scalar(key))) for run in runs)])
    rows.append(["steps", *(f"{max(run.record.steps.tolist(), default=0):,}" for run in runs)])
    seconds = [number((run.record.end or {}).get("seconds")) for run in runs]
    rows.append(["seconds", *(_count(value) for value in seconds)])
    return rows


def _change(run: NamedRun, key: str) -> str:
    found = run.record.evaluations
    if len(found) < 2:
        return plain(read_interval(run.last.get(key))[0])
    pair = change(found[0], found[-1], key)
    return f"{arrow(pair)} {gain(pair)}"


def _count(value: float) -> str:
    return f"{value:,.0f}" if math.isfinite(value) else "–"


def _against(runs: Sequence[NamedRun], key: str) -> list[str]:
    """Paired change from the first run, over the prompts that both evaluated last."""
    first = last_scores(runs[0], key)
    cells = ["–"]
    for run in runs[1:]:
        other = last_scores(run, key)
        shared = sorted(first.keys() & other.keys())
        if not shared:
            cells.append("–")
            continue
        found = bootstrap(np.array([other[name] - first[name] for name in shared]))
        cells.append(
            f"{signed(found.value)} [{signed(found.low)}, {signed(found.high)}],"
            f" {len(shared):,} prompts"
        )
    return cells


def last_scores(run: NamedRun, key: str) -> dict[str, float]:
    """By prompt, the score of the last evaluation; empty where the run kept none."""
    if not run.last:
        return {}
    step = int(str(run.last["step"]))
    path = run.record.path.parent / "evaluations" / f"step-{step:06d}.jsonl"
    if not path.is_file():
        return {}
    ids, correct, samples = read_evaluation(path)
    best = key == "pass_at_k"
    return {
        prompt: float(right > 0) if best else right / samples
        for prompt, right in zip(ids, correct, strict=True)
    }


def setting_rows(runs: Sequence[NamedRun]) -> list[list[str]]:
    """The settings in which the runs differ, and machine and version where they do."""
    found = [
        flat(run.record.config)
        | flat({"machine": mapping(run.record.start.get("machine"))})
        | {"version": str(run.record.start.get("version", "unknown"))}
        for run in runs
    ]
    of_runs = [
        {key: v if isinstance(v, str) else json.dumps(v) for key, v in settings.items()}
        for settings in found
    ]
    keys = dict.fromkeys(key for settings in of_runs for key in settings)
    rows = [[key, *(settings.get(key, "–") for settings in of_runs)] for key in keys]
    return [row for row in rows if len(set(row[1:])) > 1 and row[0] != "output_dir"]


def _sources(runs: Sequence[NamedRun]) -> str:
    groups = [source_groups(dict(run.last)) for run in runs]
    names = dict.fromkeys(name for found in groups for name in found)
    rows = [
        [
            name,
            *(
                plain(read_interval(mapping(found.get(name)).get("mean_at_k"))[0])
                for found in groups
            ),
        ]
        for name in names
    ]
    return _table(["mean after, by source", *(run.head for run in runs)], rows)


def _look(run: NamedRun) -> str:
    found = [finding for finding in findings(run.record) if finding.warns]
    body = finding_list(found) if found else "<p>No warning from any check that could be made.</p>"
    return f"<h3>{escape(run.head)}</h3>{body}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return '<p class="left-out">Nothing to set side by side.</p>'
    head = "".join(f'<th scope="col">{_soft(name)}</th>' for name in heads)
    body = "".join(
        f'<tr><th scope="row">{_soft(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll even"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody>'
        "</table></div>"
    )


def _soft(text: str) -> str:
    return escape(text).replace("_", "_<wbr>").replace("/", "/<wbr>").replace(".", ".<wbr>")


def _charts(runs: Sequence[NamedRun]) -> str:
    """Scores by checkpoint and curves by step, one line a run."""
    charts = {}
    for key, name in (("mean_at_k", "mean@k"), ("pass_at_k", "pass@k")):
        found = {run.letter: by_checkpoint(run.record.evaluations, key) for run in runs}
        series = {
            run: (steps.astype(np.float64), values[:, 0])
            for run, (steps, values) in found.items()
            if len(steps)
        }
        charts[key] = overlay(series, f"{name} of the held-out prompts, by step")
    for key, name in CURVES.items():
        series = {}
        for run in runs:
            if run.record.has(key):
                blocks = Blocks.of(run.record.steps, 60)
                series[run.letter] = (blocks.centres, blocks.mean(run.record.scalar(key)))
        charts[key] = overlay(series, f"{name}, by step")
    return "".join(
        f'<figure id="{key}" class="half of1"><div class="panels">{chart.svg(f"side-{key}")}</div>'
        "</figure>"
        for key, chart in charts.items()
        if chart is not None
    )


def overlay(series: Mapping[str, tuple[Floats, Floats]], title: str) -> Chart | None:
    """One line a run, each with its own steps; None without any."""
    if not series:
        return None
    xs = np.concatenate([steps for steps, _ in series.values()])
    chart = Chart(
        (float(xs.min()), float(max(xs.max(), xs.min() + 1))),
        extent(*(values for _, values in series.values())),
        title,
        f"One line for each of {', '.join(series)}.",
        left=50,
        right=28,
    )
    chart.y_axis()
    chart.x_axis("step")
    ends = []
    for index, (name, (steps, values)) in enumerate(series.items()):
        chart.line(steps, values, index)
        ends.append((last_known(values), name, index))
    chart.end_labels(ends)
    return chart
