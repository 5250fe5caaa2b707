"""report.html: one self-contained page about a run, built from its record alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from gdro.controllers.registry import controller_label
from gdro.io import write_atomic
from gdro.report import figures_budget, figures_choice, figures_training, figures_wave, summary
from gdro.report.completions import completions_section
from gdro.report.findings import Finding, findings
from gdro.report.palette import fill_page
from gdro.report.panels import Figure, Missing
from gdro.report.read import RECORD, Record, RecordError, mapping, read_record

Section = tuple[str, tuple[Callable[[Record], Figure | Missing], ...]]

SECTIONS: tuple[Section, ...] = (
    ("", (figures_wave.wave,)),
    ("Who weighs what", (figures_wave.triptych,)),
    ("Whether the method acts", (figures_choice.chosen,)),
    ("Who gets the rollouts", (figures_budget.frontier, figures_budget.shares)),
    (
        "How the wave moves",
        (figures_wave.indices, figures_wave.snapshots, figures_wave.lead_lag, figures_budget.wse),
    ),
    ("The two games", (figures_budget.price, figures_budget.regret)),
    ("Training", (figures_training.curves,)),
    (
        "Held-out results",
        (figures_training.before_after, figures_training.checkpoints, figures_training.worst),
    ),
    ("Verifier and time", (figures_training.verifier, figures_training.seconds)),
)
"""The page's figures in order, under their headings."""


def write_report(run: Path | str) -> Path:
    """Build report.html beside a run's record.

    Args:
        run: the run's folder, or its metrics.jsonl.

    Returns:
        The path of the page. The same record gives the same bytes.

    Raises:
        RecordError: there is no record, or nothing in it can be shown, or the page cannot be
            written.
    """
    record = read_record(run)
    path = record.path.parent / "report.html"
    try:
        write_atomic(path, page(record))
    except OSError as error:
        raise RecordError(f"{path}: cannot be written ({error.strerror})") from error
    return path


def page(record: Record) -> str:
    """The page as one string: no link or request leaves it."""
    return fill_page(
        "page.html",
        name=escape(_name(record)),
        headline=escape(summary.headline(record)),
        results=escape(summary.results(record) or "Not evaluated yet"),
        cost=escape(summary.cost(record)),
        words=escape(summary.in_words(record)),
        alerts=_alerts(record),
        table=_table(summary.table(record), figures_training.samples_a_prompt(record)),
        completions=completions_section(record),
        figures="\n".join(_section(title, makers, record) for title, makers in SECTIONS),
        settings=_settings(record),
        source=escape(f"{RECORD} and the completions beside it"),
        version=escape(str(record.start.get("version", "unknown"))),
    )


def _name(record: Record) -> str:
    name = record.config.get("run_name")
    parts = [name if isinstance(name, str) else "run"]
    if record.config.get("controller"):
        parts.append(controller_label(record.config["controller"]))
    return " · ".join(parts)


def _alerts(record: Record) -> str:
    notes = "".join(
        f"<li>{escape(note)}</li>" for note in (*record.notes, *summary.counted(record))
    )
    listed = f'<ul class="notes" aria-label="Notes on the record">{notes}</ul>' if notes else ""
    return what_to_look_at(record) + listed


def what_to_look_at(record: Record) -> str:
    """The checks that warn, each with its figure, threshold and advice; the others folded."""
    found = findings(record) if len(record.steps) else []
    if not found:
        return ""
    warning, passed = [f for f in found if f.warns], [f for f in found if not f.warns]
    rest = "".join(
        f"<li>{escape(f.name)}: {escape(f.figure or 'not in the record')} (a warning when"
        f" {escape(f.threshold)})</li>"
        for f in passed
    )
    unknown = sum(not f.figure for f in passed)
    heading = f"{len(passed) - unknown} checks passed" + (
        f", {unknown} could not be made" if unknown else ""
    )
    folded = f'<details class="checks"><summary>{heading}</summary><ul>{rest}</ul></details>'
    if not warning:
        return folded
    return (
        '<section class="alert" role="alert" aria-label="What to look at"><h2>What to look'
        f" at</h2>{finding_list(warning)}</section>{folded}"
    )


def finding_list(found: Sequence[Finding]) -> str:
    """Findings that warn, each with its figure, threshold and advice."""
    items = "".join(
        f"<li><strong>{escape(f.name)}</strong>: {escape(f.figure)} (a warning when"
        f" {escape(f.threshold)}). {escape(f.advice)}</li>"
        for f in found
    )
    return f"<ul>{items}</ul>"


def _table(rows: list[summary.Row], k: int) -> str:
    if not rows:
        return (
            '<p class="left-out">No table: it needs a held-out evaluation before and after'
            " training.</p>"
        )
    body = "".join(_table_row(row) for row in rows)
    return (
        '<table><thead><tr><th scope="col">Held-out prompts</th><th scope="col"'
        f' class="n">Number</th><th scope="col">mean@{k}</th><th'
        f' scope="col">pass@{k}</th></tr></thead><tbody>{body}</tbody></table><p class="small">'
        "Tiers 0 (hardest) to 9 are the held-out prompts by their share of right answers before"
        " training. Since that share is in part chance, low tiers rise and high ones fall without"
        " any training too: compare a tier with the same one of another run. In brackets: the"
        " change with a 95% interval; for single sources it treats before and after as independent,"
        " so it is on the wide side. A triangle marks a change whose interval leaves 0 out.</p>"
    )


def _table_row(row: summary.Row) -> str:
    if row.mean is None or row.best is None:
        return f'<tr class="group"><th scope="rowgroup" colspan="4">{escape(row.name)}</th></tr>'
    cells = "".join(
        f"<td><b>{summary.arrow(pair)}</b></td>" if row.by_answers else f"<td>{_cell(pair)}</td>"
        for pair in (row.mean, row.best)
    )
    name = escape(row.name).replace("_", "_<wbr>").replace("/", "/<wbr>")
    return (
        f'<tr><th scope="row" data-n="{row.prompts}">{name}</th><td'
        f' class="n">{row.prompts}</td>{cells}</tr>'
    )


def _cell(pair: summary.Change) -> str:
    mark = {"rose": '<span class="up">▲</span>', "fell": '<span class="down">▼</span>'}.get(
        pair.verdict, ""
    )
    return f'<b>{summary.arrow(pair)} {mark}</b> <span class="ci">{summary.gain(pair)}</span>'


def _section(
    title: str, makers: tuple[Callable[[Record], Figure | Missing], ...], record: Record
) -> str:
    made = [make(record) for make in makers]
    drawn = "".join(_figure(item, lone) for item, lone in _paired(made))
    missing = "".join(
        f'<p class="left-out"><b>{escape(item.title)}</b> is left out: {escape(item.reason)}</p>'
        for item in made
        if isinstance(item, Missing)
    )
    head = f"<h2>{escape(title)}</h2>" if title else ""
    return f'<section>{head}<div class="figures">{drawn}</div>{missing}</section>'


def _paired(made: list[Figure | Missing]) -> list[tuple[Figure, bool]]:
    """The figures, each with whether it stands alone on its row: two that are not full share
    one."""
    figures = [item for item in made if isinstance(item, Figure)]
    pairs, waiting = [], -1
    for index, figure in enumerate(figures):
        pairs.append((figure, not figure.full and waiting < 0))
        if not figure.full and waiting >= 0:
            pairs[waiting] = (figures[waiting], False)
        waiting = -1 if figure.full or waiting >= 0 else index
    return pairs


def _figure(figure: Figure, lone: bool) -> str:
    panels = "".join(figure.panels)
    if figure.narrow:
        panels = f'<div class="wide">{panels}</div><div class="narrow">{figure.narrow}</div>'
    readout = '<p class="readout" aria-hidden="true"></p>' if "data-hover" in panels else ""
    kind = "full" if figure.full else "lone" if lone else "half"
    return (
        f'<figure id="{figure.slug}" class="{kind} of{len(figure.panels)}">'
        f'<h3>{escape(figure.title)}</h3><div class="panels">{panels}</div>{readout}'
        f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
    )


def _settings(record: Record) -> str:
    parts = {
        "Settings": record.config,
        "Machine": mapping(record.start.get("machine")),
        "End": record.end or {},
    }
    return "".join(
        f"<details><summary>{escape(title)}</summary><pre>{escape(_plain(value))}</pre></details>"
        for title, value in parts.items()
        if value
    )


def _plain(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
