"""One compact picture of a run for a README or a slide: the wave, weights and rollouts, before and
after.

python research/readme_picture.py RUN FILE.svg
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from html import escape
from pathlib import Path

from gdro.report import summary
from gdro.report.chart import Chart
from gdro.report.figures_training import checkpoint_chart
from gdro.report.figures_wave import wave_chart
from gdro.report.palette import fixed
from gdro.report.panels import Blocks, heat
from gdro.report.read import Record, RecordError, read_record

WIDTH, HEIGHT, EDGE = 960, 656, 28


def picture(run: Path | str, path: Path | str) -> Path:
    """Draw the picture of a run on a card of its own, so that it reads on light and dark pages.

    Args:
        run: the run's folder, or its metrics.jsonl.
        path: the .svg file to write.

    Raises:
        RecordError: no record, nothing to draw, or another file type is asked for.
    """
    target = Path(path)
    if target.suffix != ".svg":
        raise RecordError(f"{target}: the picture is an SVG; give a name that ends in .svg")
    record = read_record(run)
    if not len(record.steps):
        raise RecordError(
            f"{record.path}: no training step is recorded yet, so there is nothing to draw"
        )
    target.write_text(fixed(draw(record)), encoding="utf-8", newline="\n")
    return target


def draw(record: Record) -> str:
    """The picture as an SVG with the page's colour variables."""
    inner = WIDTH - 2 * EDGE
    wave = wave_chart(
        record, inner, 270, "Share of prompts per difficulty bin, as training goes on"
    )
    row = [*_games(record), *_results(record)]
    wide = (inner - 24 * (len(row) - 1)) // max(len(row), 1)
    parts = [_place(wave, "wave", EDGE, 88)]
    for index, make in enumerate(row):
        parts.append(_place(make(wide), f"panel-{index}", EDGE + index * (wide + 24), 390))
    head, took = escape(summary.results(record)), escape(summary.cost(record))

    def words(y: int, size: int, fill: str, weight: int, text: str) -> str:
        style = f'fill="var(--{fill})" font-size="{size}" font-weight="{weight}"'
        return f'<text x="{EDGE}" y="{y}" {style}>{text}</text>'

    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" aria-label="{head} {took}" font-family="system-ui,'
        " -apple-system, "
        f'Segoe UI, Roboto, Helvetica, Arial, sans-serif" font-size="12"><rect x=".5" y=".5" '
        f'width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="14" fill="var(--card)"'
        ' stroke="var(--rule)"/>'
        f"{words(44, 18, 'ink', 650, head)}{words(66, 14, 'muted', 400, took)}"
        f"{''.join(parts)}</svg>\n"
    )


def _place(chart: Chart, name: str, x: int, y: int) -> str:
    where = (
        f'<svg x="{x}" y="{y}" width="{chart.width}" height="{chart.height}" overflow="visible" '
    )
    chart.hover = ""
    return chart.svg(name).replace('<svg class="chart" ', where, 1)


def _games(record: Record) -> list[Callable[[int], Chart]]:
    """Weights and rollouts per bin over time, as far as this controller adapts them."""
    wanted = (("weight", "Weight of a prompt"), ("rollouts", "Rollouts of a prompt"))
    blocks = Blocks.of(record.steps, 60)

    def drawn(name: str, title: str) -> Callable[[int], Chart]:
        values = record.per_bin(name)
        return lambda width: heat(
            blocks, values, title, f"{title} per bin.", low=None, width=width, height=244
        )

    return [drawn(name, title) for name, title in wanted if record.varies(name)]


def _results(record: Record) -> list[Callable[[int], Chart]]:
    """Held-out results by checkpoint, when there are at least two."""
    if len(record.evaluations) < 2:
        return []
    return [lambda width: checkpoint_chart(record, width, 244)]


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="the run's folder")
    parser.add_argument("file", type=Path, help="the .svg file to write")
    chosen = parser.parse_args(arguments)
    print(picture(chosen.run, chosen.file))


if __name__ == "__main__":
    main()
