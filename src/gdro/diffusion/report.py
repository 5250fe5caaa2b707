"""report.html of a diffusion run: one self-contained page, built from its record and stored samples
alone."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gdro.core.errors import DiffusionError
from gdro.diffusion.evaluation import load_images
from gdro.diffusion.families import Images
from gdro.diffusion.record import Event, Folder, read_record
from gdro.io import write_atomic
from gdro.report.chart import Chart, extent, short
from gdro.report.palette import fill_page

ABOUT_DRIFT = (
    "Drift is the kernel distance (squared maximum mean discrepancy of cell means) between the"
    " images of a prompt and the base's stored ones; up and to the left is best."
)
ABOUT_DIVERSITY = "Diversity is the mean distance between two images of a prompt."
ABOUT_TRAINING = (
    "Left: the velocity error of the best and worst images of a group above the reference's; both"
    " rising means that the images turn to noise. Right: the share of pairs that the implicit"
    " reward orders as the reward does."
)
GRID_COLUMNS = 12
"""Images of a prompt that a grid shows."""
GRID_SIDE = 96
"""Images larger than this are shrunk, smaller ones enlarged to a multiple of their size up to
it."""


def write_report(run: Path) -> Path:
    """Build report.html in a run's folder.

    Raises:
        DiffusionError: there is no record, or it has no evaluation yet.
    """
    folder = Folder(Path(run))
    events = read_record(folder.record)
    if not any(event["event"] == "evaluation" for event in events):
        raise DiffusionError(
            f"{run}: no evaluation in {folder.record.name} yet, so nothing to show"
        )
    path = folder.path / "report.html"
    write_atomic(path, page(folder, events))
    return path


def page(folder: Folder, events: Sequence[Event]) -> str:
    """The page; no link or request leaves it."""
    begin = next(event for event in events if event["event"] == "start")
    seen = [event for event in events if event["event"] == "evaluation"]
    steps = [event for event in events if event["event"] == "step"]
    return fill_page(
        "page.html",
        GRID_CSS,
        name=escape(f"{begin['config']['name']} · {begin['config']['loss_type']}"),
        headline=escape(_headline(seen)),
        results=escape(_headline(seen)),
        cost=escape(_cost(events, begin)),
        words=escape(_in_words(begin)),
        alerts=_alerts(seen, steps),
        table=_table(seen),
        completions="",
        figures="\n".join(_figures(folder, seen, steps)),
        settings=_settings(begin),
        source="metrics.jsonl and samples",
        version=escape(str(begin["version"])),
    )


GRID_CSS = """
.grid img { width: 100%; height: auto; image-rendering: pixelated; border-radius: 6px; }
.grid figcaption { margin-top: 6px; }
"""


def _headline(seen: Sequence[Event]) -> str:
    first, last = seen[0], seen[-1]
    judge = "" if last["judge"] is None else f", judge {_change(first['judge'], last['judge'])}"
    return f"Reward {_change(first['reward'], last['reward'])}{judge} after {last['step']} steps"


def _settings(begin: Event) -> str:
    text = escape(json.dumps(begin["config"], indent=2))
    return f"<details><summary>Settings</summary><pre>{text}</pre></details>"


def _cost(events: Sequence[Event], begin: Event) -> str:
    groups = next((event for event in events if event["event"] == "groups"), {})
    end = next((event for event in events if event["event"] == "end"), None)
    time = f" · {end['seconds']:.0f} s" if end else " · not finished"
    return (
        f"{groups.get('images', 0):,} stored images of {groups.get('prompts', 0)} prompts · base"
        f" {begin['base']}{time}"
    )


def _in_words(begin: Event) -> str:
    config = begin["config"]
    return (
        f"Groups of {config['group_size']} stored images of one prompt are noised alike; the"
        f" {config['loss_type']} loss (beta {config['beta']:g} on the mean over the latent, tau"
        f" {config['tau']:g}, gamma {config['gamma']:g}, {config['mode']}) moves the adapters so"
        " that images of higher reward become likelier than under the base. The reward is"
        f" {config['reward']}; the judge, which training never sees, is"
        f" {config['judge'] or 'none'}."
    )


def _alerts(seen: Sequence[Event], steps: Sequence[Event]) -> str:
    found = []
    first, last = seen[0], seen[-1]
    gained, judged = (_number(last[name]) - _number(first[name]) for name in ("reward", "judge"))
    if gained > 0.0 and judged < -0.02:
        found.append("The reward rose and the judge fell: the reward is being hacked.")
    if _number(last["diversity"]) < 0.7 * _number(first["diversity"]):
        found.append(
            "The images of a prompt have become much more alike: below 70 % of the base's"
            " diversity."
        )
    tail = steps[-10:]
    if (
        tail
        and np.mean([_number(e["winner_err"]) - _number(e["winner_err_ref"]) for e in tail]) > 0.05
    ):
        found.append(
            "The best images have become less likely than under the base: raise beta or gamma."
        )
    return "".join(
        f'<p class="alert" role="alert"><strong>Look here.</strong> {escape(text)}</p>'
        for text in found
    )


def _table(seen: Sequence[Event]) -> str:
    first, last = seen[0], seen[-1]
    now = last["reward_by_prompt"]
    rows = [
        f'<tr><th scope="row">{escape(prompt)}</th><td>{_change(before, now.get(prompt))}</td></tr>'
        for prompt, before in first["reward_by_prompt"].items()
    ]
    total = f'<tr><th scope="row">all</th><td>{_change(first["reward"], last["reward"])}</td></tr>'
    head = (
        '<thead><tr><th scope="col">Prompt</th><th scope="col">Reward, before →'
        " after</th></tr></thead>"
    )
    return f"<table>{head}<tbody>{total}{''.join(rows)}</tbody></table>"


def _figures(folder: Folder, seen: Sequence[Event], steps: Sequence[Event]) -> list[str]:
    at = [event["step"] for event in seen]
    reward = _lines(
        "Reward",
        at,
        {"reward": _column(seen, "reward"), "judge": _column(seen, "judge")},
        "reward",
        "step",
    )
    moved = _trade(seen)
    drift = _lines(
        "Drift from the base", at, {"drift": _column(seen, "drift")}, "drift", "step", zero=True
    )
    alike = _lines(
        "Diversity", at, {"diversity": _column(seen, "diversity")}, "diversity", "step", zero=True
    )
    made = [
        _figure("reward", "Reward and drift", ABOUT_DRIFT, [reward, moved]),
        _figure("moved", "How far, and how alike", ABOUT_DIVERSITY, [drift, alike]),
    ]
    if steps:
        steps_at = [event["step"] for event in steps]
        gaps = {
            side: _column(steps, f"{side}_err") - _column(steps, f"{side}_err_ref")
            for side in ("winner", "loser")
        }
        error = _lines("Error above the reference", steps_at, gaps, "gap", "step", zero=True)
        rank = _lines(
            "Rank agreement", steps_at, {"": _column(steps, "rank_agreement")}, "rank", "step"
        )
        made.append(_figure("training", "Training", ABOUT_TRAINING, [error, rank]))
    return [f'<section><div class="figures">{"".join(made)}</div></section>', _grids(folder, seen)]


def _figure(slug: str, title: str, caption: str, panels: Sequence[str]) -> str:
    return (
        f'<figure id="{slug}" class="full of{len(panels)}"><h3>{escape(title)}</h3>'
        "<div"
        f' class="panels">{"".join(panels)}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _lines(
    title: str,
    at: Sequence[int],
    lines: dict[str, Any],
    slug: str,
    axis: str,
    *,
    zero: bool = False,
) -> str:
    lines = {name: values for name, values in lines.items() if np.isfinite(values).any()} or lines
    right = 66 if len(lines) > 1 else 14
    low, high = extent(*lines.values(), zero=zero)
    chart = Chart(
        (min(at), max(max(at), min(at) + 1)), (low, high), title, f"{title} over steps", right=right
    )
    chart.y_axis()
    chart.x_axis(axis)
    for series, values in enumerate(lines.values()):
        chart.line(at, values, series)
    if len(lines) > 1:
        chart.end_labels(
            [
                (float(values[-1]), name, series)
                for series, (name, values) in enumerate(lines.items())
            ]
        )
    return chart.svg(slug)


def _trade(seen: Sequence[Event]) -> str:
    """Reward against drift, a dot an evaluation."""
    drift, reward, judge = (_column(seen, name) for name in ("drift", "reward", "judge"))
    known = [values for values in (reward, judge) if np.isfinite(values).any()] or [reward]
    chart = Chart(
        extent(drift, zero=True),
        extent(*known),
        "Reward against drift",
        "one dot an evaluation",
        right=66,
    )
    chart.y_axis()
    chart.x_axis("drift")
    for series, values in enumerate(known):
        shown = np.where(np.isfinite(drift), values, np.nan)
        chart.line(np.nan_to_num(drift), shown, series, width=1.5)
        for x, y in zip(drift, values, strict=True):
            chart.dot(float(x), float(y), series, hollow=series == 1, radius=3)
    chart.end_labels(
        [
            (float(v[-1]), name, s)
            for s, (name, v) in enumerate(zip(("reward", "judge"), known, strict=False))
        ]
    )
    return chart.svg("trade")


def _grids(folder: Folder, seen: Sequence[Event]) -> str:
    """Images of the same noise, before and after."""
    shown = [seen[0]] if len(seen) == 1 else [seen[0], seen[-1]]
    made = []
    for event in shown:
        prompts = list(event["reward_by_prompt"])
        images = load_images(folder.samples(event["step"]))
        caption = (
            f"Step {event['step']}: {len(prompts)} prompts, one a row; the same noise in every"
            " grid."
        )
        picture = base64.b64encode(_png(_grid(images, len(prompts)))).decode()
        alt = escape(f"{caption} Rows: {'; '.join(prompts)}", quote=True)
        made.append(
            f'<figure class="half grid"><img alt="{alt}" src="data:image/png;base64,{picture}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
    return f'<section><h2>Samples</h2><div class="figures">{"".join(made)}</div></section>'


def _grid(images: Images, prompts: int) -> Image.Image:
    """A row a prompt."""
    columns = min(GRID_COLUMNS, len(images) // prompts)
    height, width, channels = images.shape[1:]
    rows = images.reshape(prompts, -1, height, width, channels)[:, :columns]
    sheet = rows.transpose(0, 2, 1, 3, 4).reshape(prompts * height, columns * width, channels)
    picture = Image.fromarray(sheet[..., 0] if channels == 1 else sheet)
    factor = GRID_SIDE / max(height, width)
    if factor >= 2.0:
        return picture.resize(
            (picture.width * int(factor) // 2, picture.height * int(factor) // 2),
            Image.Resampling.NEAREST,
        )
    if factor < 1.0:
        return picture.resize(
            (round(picture.width * factor), round(picture.height * factor)), Image.Resampling.BOX
        )
    return picture


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _column(events: Sequence[Event], name: str) -> Any:
    return np.array([_number(event[name]) for event in events])


def _change(before: float | None, after: float | None) -> str:
    return f"{short(_number(before))} → {short(_number(after))}"


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
