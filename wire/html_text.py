"""Text in an HTML output that is shown as it is."""

from __future__ import annotations

import html


def html_text(text: str) -> str:
    """Escape a text for HTML, and keep dollars dollars.

    JupyterLab typesets what stands between two ``$`` in an output as a formula, so each gets an element of its own:
    a formula does not cross elements.
    """
    return html.escape(text).replace("$", "<span>$</span>")
