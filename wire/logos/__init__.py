"""The logo, in the sizes and under the file names that Jupyter looks for beside a kernelspec.

Kernelspecs on disk and the broker's ``/kernelspecs/{name}/{file}`` both show it. The PNGs are the SVG, rendered.
"""

from __future__ import annotations

from importlib.resources import files

LOGO_FILES = ("logo-32x32.png", "logo-64x64.png", "logo-svg.svg")
MEDIA_TYPES = {".png": "image/png", ".svg": "image/svg+xml"}


def logo(file: str) -> bytes:
    """The content of one of :data:`LOGO_FILES`.

    Raises:
        KeyError: when there is no logo of this name.
    """
    if file not in LOGO_FILES:
        raise KeyError(file)
    return files(__name__).joinpath(file).read_bytes()
