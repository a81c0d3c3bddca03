"""Stacked bars as SVG inside an HTML output: no script, no library, readable on light and dark grounds from 300 px on.

Text has the colour of the text around it. The parts have colours of the theme where it names some, and differ in
pattern, too. Front-ends that show no SVG from a notebook they do not trust leave it out; the table above it stays.
"""

from __future__ import annotations

import hashlib
import html

from .bars import PHASES, Bar, Bars, in_words

WIDTH = 300  # of the drawing's own units; it is shown at up to a fifth more
ROW, BAR = 18, 11
LABEL_ABOVE = 14  # what a row is higher by when its label stands above the bar
DAY_WIDTH, LETTER, LEGEND = 68, 5.9, 148  # of a date; of a letter, at most; where the legend begins
COLOURS = {
    "starting": "var(--jp-warn-color1, var(--vscode-charts-orange, #d9822b))",
    "busy": "var(--jp-brand-color1, var(--vscode-charts-blue, #2f7fd6))",
    "idle": "var(--jp-brand-color1, var(--vscode-charts-blue, #2f7fd6))",
}


def as_svg(bars: Bars) -> str:
    """A ``<div>`` with the picture in it."""
    above = LABEL_ABOVE if bars.by != "day" else 0
    rows = "".join(
        f'<g transform="translate(0,{22 + number * (ROW + above)})">{_row(bars, bar, above)}</g>'
        for number, bar in enumerate(bars.bars)
    )
    height = 22 + len(bars.bars) * (ROW + above) + (16 if bars.note else 2)
    note = _text(0, height - 5, bars.note, opacity=0.75) if bars.note else ""
    body = f"{_patterns('ID')}{_text(0, 11, bars.title)}{_legend()}{rows}{note}"
    name = "perijove-" + hashlib.sha256(body.encode()).hexdigest()[:10]  # other pictures have patterns of their own
    said = html.escape(f"{bars.title}. " + "; ".join(in_words(bar) for bar in bars.bars), quote=True)
    return (
        '<div class="tex2jax_ignore mathjax_ignore" style="max-width: 360px; margin-top: 0.6em">'
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{said}" '
        'style="width: 100%; height: auto; font: 11px sans-serif; font-variant-numeric: tabular-nums" '
        f'fill="currentColor">{body.replace("ID", name)}</svg></div>'
    )


def _patterns(name: str) -> str:
    """Hatched is idle, dotted is starting."""
    idle, starting = COLOURS["idle"], COLOURS["starting"]
    return (
        "<defs>"
        f'<pattern id="{name}-idle" width="4" height="4" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        f'<rect width="4" height="4" style="fill: {idle}" fill-opacity="0.2"/>'
        f'<rect width="1.4" height="4" style="fill: {idle}"/></pattern>'
        f'<pattern id="{name}-starting" width="4" height="4" patternUnits="userSpaceOnUse">'
        f'<rect width="4" height="4" style="fill: {starting}" fill-opacity="0.3"/>'
        f'<circle cx="2" cy="2" r="1.2" style="fill: {starting}"/></pattern>'
        "</defs>"
    )


def _fill(phase: str) -> str:
    colour = COLOURS[phase]
    inside = f"fill: {colour}" if phase == "busy" else f"fill: url(#ID-{phase})"
    return f'style="{inside}; stroke: {colour}; stroke-width: 0.6"'


def _legend() -> str:
    shown, x = "", LEGEND
    for phase in PHASES:
        shown += f'<rect x="{x + 0.5}" y="2.5" width="10" height="10" {_fill(phase)}/>' + _text(x + 14, 11, phase)
        x += 20 + 6 * len(phase)
    return shown


def _row(bars: Bars, bar: Bar, above: int) -> str:
    amounts = LETTER * max(len(other.amount) for other in bars.bars)
    left, room = (0, WIDTH) if above else (DAY_WIDTH, WIDTH - DAY_WIDTH - amounts)
    drawn, x = "", float(left)
    for phase, part in zip(PHASES, bar.parts, strict=True):
        if part:
            wide = max(1.0, (room - 6) * part / bars.longest)
            drawn += f'<rect x="{x + 0.3:.1f}" y="{above}" width="{wide:.1f}" height="{BAR}" {_fill(phase)}/>'
            x += wide
    beside = _text(0, 10, bar.label) + _text(WIDTH, 10, bar.amount, end=True)
    return f"<title>{html.escape(in_words(bar))}</title>{beside}{drawn}"


def _text(x: float, y: float, text: str, *, end: bool = False, opacity: float = 1) -> str:
    """Each dollar sign in an element of its own: what stands between two of them might be taken for a formula."""
    anchor = ' text-anchor="end"' if end else ""
    pale = f' opacity="{opacity}"' if opacity < 1 else ""
    shown = html.escape(text).replace("$", "<tspan>$</tspan>")
    return f'<text x="{x}" y="{y}"{anchor}{pale}>{shown}</text>'
