"""The program of a kernel process: ``python -m perijove.remote_agent.runtime -f <connection file>``."""

import os
import sys

from .lifeline import hold_on_to_agent

if sys.path and sys.path[0] == os.getcwd():
    del sys.path[0]  # where ``-m`` was run from; cells see the directory they are in, as in any kernel

hold_on_to_agent()  # before the slow imports: an agent may die while its kernels start

from .kernel_app import main  # noqa: E402

main()
