"""The ``perijove`` command.

Exit status: 0 done, 1 failed, 2 wrong usage. Errors are one line on stderr that says what to do.
"""

from __future__ import annotations

import sys

import typer

from ..wire.errors import PerijoveError, UsageError
from . import access, audit, bill, budget, doctor, drain, install, run, serve, status, top, up

app = typer.Typer(
    name="perijove",
    help="A remote GPU in a Jupyter notebook for exactly as long as cells run on it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for part in (up, serve, install, run, status, bill, budget, top, drain, audit, access, doctor):
    part.register(app)


def main() -> None:
    """The entry point: runs the command and turns errors into one line and an exit status."""
    try:
        app()
    except UsageError as error:
        print(f"perijove: {error}", file=sys.stderr)
        sys.exit(2)
    except PerijoveError as error:
        print(f"perijove: {error}", file=sys.stderr)
        sys.exit(getattr(error, "exit_status", 1))
    except KeyboardInterrupt:
        sys.exit(130)
