"""``python -m perijove.cli`` is the ``perijove`` command, whatever PATH says."""

from . import main

main()
