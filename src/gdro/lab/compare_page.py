"""A comparison as files: table.md, results.json, figure.svg and report.html, one self-contained
page."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gdro
from gdro.io import to_json, without_nan, write_atomic
from gdro.lab.compare_table import (
    caption,
    cost_cells,
    cost_heads,
    few_seeds,
    markdown,
    shown,
    titles,
)
from gdro.lab.text import estimate_of, moved
from gdro.report.chart import SERIES, Chart, extent
from gdro.report.palette import fill_page, fixed
from gdro.report.read import RecordError

FOREST = ("pass_at_k", "mean_at_k", "worst_bin", "hardest_fifth")
CURVES = ("pass_at_k", "mean_at_k")
WIDTH, EDGE, GAP = 960, 28, 24


def write_page(root: Path, summary: Mapping[str, Any]) -> None:
    """Write all four files into the comparison's folder; the same record gives the same bytes.

    Raises:
        RecordError: a file cannot be written.
    """
    _write(
        root,
        published_files(summary)
        | {
            "results.json": results_json(summary),
            "report.html": page(summary),
        },
    )


def write_published(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write the two files that a published comparison shows; the same outcomes give the same bytes.

    Raises:
        RecordError: a file cannot be written.
    """
    _write(folder, published_files(summary))


def published_files(summary: Mapping[str, Any]) -> dict[str, str]:
    """The table and the figure: name -> text."""
    return {"table.md": markdown(summary), "figure.svg": fixed(figure(summary))}


def results_json(summary: Mapping[str, Any]) -> str:
    """The whole summary as JSON."""
    return to_json(dict(summary), indent=1) + "\n"


def _write(root: Path, contents: Mapping[str, str]) -> None:
    for name, text in contents.items():
        try:
            write_atomic(root / name, text)
        except OSError as error:
            raise RecordError(f"{root / name}: cannot be written ({error.strerror})") from error


def headline(summary: Mapping[str, Any]) -> str:
    """What came out, in one sentence that claims no more than the intervals do."""
    k, against = summary["k"], summary["baseline"]
    gaps = {
        m: entry["scores"]["pass_at_k"].get("difference") for m, entry in summary["methods"].items()
    }
    known = {method: gap for method, gap in gaps.items() if gap}
    if not known:
        return f"{against} alone: nothing to compare it with yet"
    best = max(known, key=lambda method: float(known[method]["value"]))
    gap = known[best]
    clear = estimate_of(gap).clear
    known_to = not math.isnan(gap["high"])
    change = f"{gap['value']:+.3f}"
    change += f" ({gap['low']:+.3f} to {gap['high']:+.3f})" if known_to else " (no interval yet)"
    if gap["value"] > 0 and clear:
        return f"{best} has the highest pass@{k}: {change} against {against}"
    if gap["value"] > 0:
        return (
            f"No method is clearly ahead of {against} in pass@{k}; the highest is {best}, {change}"
        )
    return f"No method is ahead of {against} in pass@{k}; the nearest is {best}, {change}"


def page(summary: Mapping[str, Any]) -> str:
    """The page as one string: no link or request leaves it."""
    runs = sum(len(entry["seeds"]) for entry in summary["methods"].values())
    spent = next(iter(summary["methods"].values()))["rollouts"]
    return fill_page(
        "page.html",
        name=escape(f"comparison · {summary['name']}"),
        headline=escape(headline(summary)),
        results=escape(headline(summary)),
        cost=escape(
            f"{len(summary['methods'])} methods, {runs} runs of {spent:,.0f} rollouts each"
        ),
        words=escape(summary["about"] or ""),
        alerts=_notes(summary),
        table=_score_table(summary),
        completions="",
        figures=_figures(summary),
        settings=_details(summary),
        source="the records of its runs",
        version=escape(gdro.__version__),
    )


def forest(summary: Mapping[str, Any], name: str, width: int = 440) -> Chart:
    """One row a method: its difference from the baseline with the interval."""
    rows = [
        (method, estimate_of(entry["scores"][name]["difference"]))
        for method, entry in summary["methods"].items()
        if "difference" in entry["scores"][name]
    ]
    title = titles(summary["k"])[name]
    left = 16 + 7 * max((len(method) for method, _ in rows), default=8)
    chart = Chart(
        extent([0.0], *([gap.low, gap.high, gap.value] for _, gap in rows)),
        (-0.6, max(len(rows), 1) - 0.4),
        f"{title}, difference from {summary['baseline']}",
        f"{title}: " + "; ".join(f"{method} {gap.value:+.3f}" for method, gap in rows),
        width=width,
        height=70 + 22 * max(len(rows), 1),
        left=left,
    )
    chart.x_axis("")
    chart.segment(0.0, chart.y[0], 0.0, chart.y[1])
    for place, (method, gap) in enumerate(reversed(rows)):
        chart.text(chart.x0 - 8, chart.py(place) + 4, method, anchor="end")
        chart.segment(gap.low, place, gap.high, place, SERIES[0])
        chart.dot(gap.value, place, 0, hollow=not gap.clear)
    return chart


def curves(summary: Mapping[str, Any], name: str, width: int = 440) -> Chart:
    """The baseline and the three methods with the largest area, over rollouts."""
    methods, against = summary["methods"], summary["baseline"]
    others = sorted(
        (method for method in methods if method != against),
        key=lambda method: -float(methods[method]["scores"]["area_pass"]["value"]),
    )
    drawn = [against, *others[: len(SERIES) - 1]]
    lines = [
        (method, methods[method]["curve"]["rollouts"], methods[method]["curve"][name])
        for method in drawn
    ]
    title = f"{titles(summary['k'])[name]} over rollouts"
    chart = Chart(
        (0.0, max(xs[-1] for _, xs, _ in lines)),
        extent(*(ys for _, _, ys in lines)),
        title,
        f"{title}: " + "; ".join(f"{method} ends at {ys[-1]:.3f}" for method, _, ys in lines),
        width=width,
        height=250,
        right=18 + 7 * max(map(len, drawn)),
    )
    chart.y_axis()
    chart.x_axis("rollouts")
    for index, (_, xs, ys) in enumerate(lines):
        chart.line(xs, ys, index)
    chart.end_labels([(ys[-1], method, index) for index, (method, _, ys) in enumerate(lines)])
    return chart


def figure(summary: Mapping[str, Any]) -> str:
    """All panels on one card, as an SVG with the page's colour variables."""
    wide = (WIDTH - 2 * EDGE - GAP) // 2
    charts = [forest(summary, name, wide) for name in FOREST] + [
        curves(summary, name, wide) for name in CURVES
    ]
    head = textwrap.wrap(headline(summary), 92)
    lines = "".join(
        f'<text x="{EDGE}" y="{42 + 22 * row}" fill="var(--ink)" font-size="17"'
        f' font-weight="650">{escape(line)}</text>'
        for row, line in enumerate(head)
    )
    parts, y = [], 62 + 22 * len(head)
    for index in range(0, len(charts), 2):
        for column, chart in enumerate(charts[index : index + 2]):
            where = (
                f'x="{EDGE + column * (wide + GAP)}" y="{y}" width="{chart.width}"'
                f' height="{chart.height}"'
            )
            svg = chart.svg(f"panel-{index + column}")
            parts.append(svg.replace('<svg class="chart" ', f'<svg {where} overflow="visible" ', 1))
        y += max(chart.height for chart in charts[index : index + 2]) + GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}"'
        f' height="{y}" role="img" '
        f'aria-label="{escape(headline(summary))}" font-family="system-ui, -apple-system, Segoe UI,'
        " Roboto, Helvetica, "
        f'Arial, sans-serif" font-size="12"><rect x=".5" y=".5" width="{WIDTH - 1}"'
        f' height="{y - 1}" rx="14" '
        f'fill="var(--card)" stroke="var(--rule)"/>{lines}<text x="{EDGE}"'
        f' y="{42 + 22 * len(head)}" '
        f'fill="var(--muted)" font-size="13">{escape(_small(summary))}</text>'
        f"{''.join(parts)}</svg>\n"
    )


def _small(summary: Mapping[str, Any]) -> str:
    seeds, over = (
        ("replicates", "replicates") if summary["fresh_data"] else ("seeds", "seeds and prompts")
    )
    most = max(len(entry["seeds"]) for entry in summary["methods"].values())
    return (
        f"{summary['prompts']} held-out prompts, {most} {seeds},"
        f" {summary['steps']} steps; 95 % intervals over {over}, full dots leave 0 out"
    )


def _figures(summary: Mapping[str, Any]) -> str:
    over = "replicates" if summary["fresh_data"] else "seeds and prompts"
    rows = f"A row is a method; the line is the 95 % interval over {over}. A full dot leaves 0 out."
    drawn = (
        "The baseline and the three methods with the largest area, means over seeds and prompts."
    )
    parts = [
        ("overall", "All held-out prompts", rows, [forest(summary, name) for name in FOREST[:2]]),
        ("hard", "Hard prompts", rows, [forest(summary, name) for name in FOREST[2:]]),
        ("curves", "On the way", drawn, [curves(summary, name) for name in CURVES]),
    ]
    made = "".join(
        f'<figure id="{slug}" class="full of2"><h3>{escape(title)}</h3><div class="panels">'
        f"{''.join(chart.svg(f'{slug}-{place}') for place, chart in enumerate(charts))}</div>"
        f"<figcaption>{escape(text)}</figcaption></figure>"
        for slug, title, text, charts in parts
    )
    return (
        "<section><div"
        f' class="figures">{made}</div></section><section>{_cost_table(summary)}</section>'
    )


def _notes(summary: Mapping[str, Any]) -> str:
    missing = [f"Not finished: {', '.join(summary['missing'])}."] if summary["missing"] else []
    lone = [few.replace("`", "")] if (few := few_seeds(summary)) else []
    claims = [
        f"Claim stated before the runs: {claim['words'].replace('**', '')}"
        for claim in summary["claims"]
    ]
    notes = "".join(
        f"<li>{escape(note)}</li>" for note in (*claims, *missing, *lone, *summary["notes"])
    )
    return f'<ul class="notes" aria-label="Notes on the record">{notes}</ul>' if notes else ""


def _score_table(summary: Mapping[str, Any]) -> str:
    names, columns = titles(summary["k"]), shown(summary)
    head = _head(["Method", *(names[name] for name in columns)])
    before = "".join(
        f"<td>{summary['base'][n]:.3f}</td>" if n in summary["base"] else "<td></td>"
        for n in columns
    )
    body = ""
    for method, entry in summary["methods"].items():
        cells = "".join(f"<td>{_cell(entry['scores'][name])}</td>" for name in columns)
        body += f'<tr><th scope="row">{escape(method)}</th>{cells}</tr>'
    body += f'<tr><th scope="row">before training</th>{before}</tr>'
    text = (
        escape(caption(summary))
        .replace("bold where it leaves", "a triangle where it leaves")
        .replace("`", "")
    )
    return f'{_wide(head, body)}<p class="small">{text}</p>'


def _cell(score: Mapping[str, Any]) -> str:
    if "difference" not in score:
        return f"<b>{score['value']:.3f}</b>"
    gap = estimate_of(score["difference"])
    up = (
        '<span class="up">▲</span>'
        if gap.low > 0
        else '<span class="down">▼</span>'
        if gap.high < 0
        else ""
    )
    change = moved(gap).strip("*")  # the triangle says what is bold in Markdown
    return f'<b>{score["value"]:.3f} {up}</b> <span class="ci">({change})</span>'


def _cost_table(summary: Mapping[str, Any]) -> str:
    head = _head(["Method", *(title[0].upper() + title[1:] for title in cost_heads(summary))])
    body = ""
    for method, entry in summary["methods"].items():
        cells = "".join(f"<td>{escape(text)}</td>" for text in cost_cells(entry, summary))
        body += f'<tr><th scope="row">{escape(method)}</th>{cells}</tr>'
    small = (
        "Means over seeds. Seconds are those of training steps on one core, with other runs"
        " beside it."
    )
    return f'<h2>What it took</h2>{_wide(head, body)}<p class="small">{small}</p>'


def _wide(head: str, body: str) -> str:
    """A table that scrolls by itself on a narrow screen."""
    return f'<div class="scroll"><table>{head}<tbody>{body}</tbody></table></div>'


def _head(names: Sequence[str]) -> str:
    cells = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    return f"<thead><tr>{cells}</tr></thead>"


def _details(summary: Mapping[str, Any]) -> str:
    settings = {method: entry["controller"] for method, entry in summary["methods"].items()}
    scores = {method: entry["scores"] for method, entry in summary["methods"].items()}
    parts = {"Methods": settings, "All scores": without_nan(scores)}
    return "".join(
        f"<details><summary>{escape(title)}</summary>"
        f"<pre>{escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre></details>"
        for title, value in parts.items()
    )
