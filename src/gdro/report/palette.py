"""The page's colours: two themes, one sequential scale in each, distinct for every kind of colour
vision.

The scale runs from the page's own background to strong contrast against it (so "more" stands out in
both themes) with lightness falling or rising all the way: it can be read without seeing hue, and on
a grey printer.
"""

from __future__ import annotations

import re
from importlib.resources import files
from string import Template

from gdro.report.chart import LEVELS

LIGHT_SCALE = ("#edf3e6", "#d0e8cc", "#9fd4bd", "#5cb3b5", "#2f86a9", "#2a5793", "#1d2766")
DARK_SCALE = ("#1d2834", "#1f3d59", "#1f6382", "#2b8b95", "#62b497", "#b1d9a0", "#f6f5c8")

LIGHT = {
    "bg": "#f7f7f5",
    "card": "#ffffff",
    "ink": "#1c2127",
    "muted": "#5f6873",
    "rule": "#e5e7ea",
    "bar": "#8fb3cc",
    "s0": "#1f6fa8",
    "s1": "#c2571a",
    "s2": "#5a7d2a",
    "s3": "#7a4f9a",
    "alert": "#fff4e0",
}
DARK = {
    "bg": "#0e1216",
    "card": "#161c22",
    "ink": "#e7eaee",
    "muted": "#9aa5b1",
    "rule": "#2a323b",
    "bar": "#3f6d8c",
    "s0": "#6bb4ea",
    "s1": "#f29d5f",
    "s2": "#a3c86d",
    "s3": "#c39ae0",
    "alert": "#3a2c10",
}


def scale(anchors: tuple[str, ...]) -> list[str]:
    """LEVELS colours through the anchors, evenly spaced."""
    colours = []
    for index in range(LEVELS):
        place = index / (LEVELS - 1) * (len(anchors) - 1)
        left = min(int(place), len(anchors) - 2)
        colours.append(_between(anchors[left], anchors[left + 1], place - left))
    return colours


def _between(first: str, second: str, part: float) -> str:
    channels = [(int(first[i : i + 2], 16), int(second[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in channels)


def light() -> dict[str, str]:
    """Every colour name of the light theme."""
    return LIGHT | {f"h{index}": colour for index, colour in enumerate(scale(LIGHT_SCALE))}


def dark() -> dict[str, str]:
    """Every colour name of the dark theme."""
    return DARK | {f"h{index}": colour for index, colour in enumerate(scale(DARK_SCALE))}


def theme_css() -> str:
    """Both themes as CSS variables; paper is always light."""
    day, night = _block(light()), _block(dark())
    return (
        f":root{{color-scheme:light dark;{day}}}\n@media screen and"
        f" (prefers-color-scheme:dark){{:root{{{night}}}}}\n"
    )


def fill_page(page: str, extra_css: str = "", /, **parts: str) -> str:
    """A page of this folder with its style and these parts: one string, from which no link or
    request leaves.

    Args:
        page: `page.html` or `side_by_side.html`.
        extra_css: after the style that all pages share.
        parts: what stands for each `$name` of the page, escaped by the caller.
    """
    folder = files("gdro.report")
    style = theme_css() + (folder / "report.css").read_text(encoding="utf-8") + extra_css
    template = Template((folder / page).read_text(encoding="utf-8"))
    return template.substitute(style=style, **parts)


def _block(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())


def fixed(svg: str) -> str:
    """An SVG with the light theme's colours written in, for use outside the page."""
    colours = light()
    return re.sub(r"var\(--(\w+)\)", lambda match: colours[match[1]], svg)
