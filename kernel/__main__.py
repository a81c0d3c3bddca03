"""``python -m perijove.kernel -f CONNECTION_FILE --gpu SPEC``: what a kernelspec of ours starts."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys

from .settings import UnusableConnection, parse_arguments, read_connection, write_back
from .sockets import Sockets


def main() -> int:
    # A handler instead of SIG_IGN, which programs that we start would inherit. See life.py for why it is ignored.
    signal.signal(signal.SIGINT, lambda *_: None)
    _set_up_logging()
    log = logging.getLogger(__name__)
    arguments = parse_arguments(sys.argv[1:])
    if arguments.unknown:
        log.warning("arguments that mean nothing here were left out: %s", " ".join(arguments.unknown))
    try:
        connection = read_connection(arguments.connection_file)
        sockets = Sockets(connection)
        connection = write_back(connection, sockets.ports)
    except UnusableConnection as error:
        print(f"perijove kernel: {error}", file=sys.stderr)
        return 1

    from .life import Parent  # the sockets listen: now there is time
    from .program import run

    run(sockets, arguments, connection, Parent())
    if connection.is_ours:
        with contextlib.suppress(OSError):
            connection.file.unlink()
    return 0


def _set_up_logging() -> None:
    """On stderr, where front-ends keep logs; ``PERIJOVE_LOG=debug`` says more."""
    level = getattr(logging, os.environ.get("PERIJOVE_LOG", "").upper(), logging.WARNING)
    logging.basicConfig(stream=sys.stderr, level=level, format="perijove kernel: level=%(levelname)s %(message)s")


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # a thread that is still starting a broker is not waited for
