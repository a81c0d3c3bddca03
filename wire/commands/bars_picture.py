"""Stacked bars for an HTML output: a table whose bars are inline SVG, without any script or library.

Words and amounts are ordinary text in the colours around them. The bars have colours of the theme where it names some,
and differ in pattern, too. A front-end that shows no SVG of a notebook that it does not trust still shows the table.
"""

from __future__ import annotations

import hashlib
import html

from ..html_text import html_text
from .bars import PHASES, Bar, Bars, Phase, in_words

BAR = 11  # pixels high
COLOURS: dict[Phase, str] = {
    "starting": "var(--jp-warn-color1, var(--vscode-charts-orange, #d9822b))",
    "busy": "var(--jp-brand-color1, var(--vscode-charts-blue, #2f7fd6))",
    "idle": "var(--jp-brand-color1, var(--vscode-charts-blue, #2f7fd6))",
}
_TABLE = (
    "table-layout: auto; width: 100%; max-width: 420px; margin: 0.4em 0; border: none; "  # JupyterLab's is fixed
    "font-variant-numeric: tabular-nums"
)
_ROW = "background: none"
_CELL = "border: none; padding: 1px 6px 1px 0; text-align: left; white-space: nowrap; vertical-align: middle"


def as_html(bars: Bars) -> str:
    rows = "".join(_day(bars, bar) if bars.by == "day" else _labelled(bars, bar) for bar in bars.bars)
    note = f"<div>{html_text(bars.note)}</div>" if bars.note else ""
    body = f'{_legend(bars)}<table style="{_TABLE}"><tbody>{rows}</tbody></table>{note}'
    name = "perijove-" + hashlib.sha256(body.encode()).hexdigest()[:10]  # other pictures have patterns of their own
    return f'<div style="margin-top: 0.6em">{body.replace("PATTERN", name)}</div>'


def _legend(bars: Bars) -> str:
    """What the shapes mean; the patterns that all bars use are in the first of them."""
    marks: list[str] = []
    for phase in PHASES:
        patterns = _patterns() if not marks else ""
        mark = f'<rect x="0.5" y="0.5" width="10" height="10" {_fill(phase)}/>'
        drawn = f'<svg width="11" height="11" aria-hidden="true" style="vertical-align: -1px">{patterns}{mark}</svg>'
        marks.append(f'<span style="white-space: nowrap">{drawn} {phase}</span>')
    return f"<div>{html_text(bars.title)} &nbsp; {' &nbsp; '.join(marks)}</div>"


def _patterns() -> str:
    """Hatched is idle, dotted is starting."""
    idle, starting = COLOURS["idle"], COLOURS["starting"]
    return (
        "<defs>"
        '<pattern id="PATTERN-idle" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        f'<rect width="5" height="5" style="fill: {idle}" fill-opacity="0.2"/>'
        f'<rect width="1.8" height="5" style="fill: {idle}"/></pattern>'
        '<pattern id="PATTERN-starting" width="4" height="4" patternUnits="userSpaceOnUse">'
        f'<rect width="4" height="4" style="fill: {starting}" fill-opacity="0.3"/>'
        f'<circle cx="2" cy="2" r="1.2" style="fill: {starting}"/></pattern>'
        "</defs>"
    )


def _fill(phase: Phase) -> str:
    inside = COLOURS[phase] if phase == "busy" else f"url(#PATTERN-{phase})"
    return f'style="fill: {inside}; stroke: {COLOURS[phase]}; stroke-width: 0.6"'


def _day(bars: Bars, bar: Bar) -> str:
    return (
        f'<tr style="{_ROW}" title="{_words(bar)}"><td style="{_CELL}">{html_text(bar.label)}</td>'
        f'<td style="{_CELL}; width: 99%; min-width: 60px">{_bar(bars, bar)}</td>{_amount(bar)}</tr>'
    )


def _labelled(bars: Bars, bar: Bar) -> str:
    """Other labels are long: they stand above their bars."""
    return (
        f'<tr style="{_ROW}" title="{_words(bar)}"><td style="{_CELL}">{html_text(bar.label)}</td>{_amount(bar)}</tr>'
        f'<tr style="{_ROW}" title="{_words(bar)}"><td colspan="2" style="{_CELL}">{_bar(bars, bar)}</td></tr>'
    )


def _amount(bar: Bar) -> str:
    return f'<td style="{_CELL.replace("left", "right")}">{html_text(bar.amount)}</td>'


def _bar(bars: Bars, bar: Bar) -> str:
    """In percents of the room there is, so that no pattern is stretched."""
    drawn, so_far = "", 0
    for phase, part in zip(PHASES, bar.parts, strict=True):
        if part:
            x, wide = 100 * so_far / bars.longest, max(0.5, 100 * part / bars.longest)
            drawn += f'<rect x="{x:.2f}%" y="0.5" width="{wide:.2f}%" height="{BAR - 1}" {_fill(phase)}/>'
        so_far += part
    return (
        f'<svg role="img" aria-label="{_words(bar)}" width="100%" height="{BAR}" style="display: block">{drawn}</svg>'
    )


def _words(bar: Bar) -> str:
    return html.escape(in_words(bar), quote=True)
