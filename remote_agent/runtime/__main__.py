"""The program of a kernel process: ``python -m perijove.remote_agent.runtime -f <connection file>``."""

from .lifeline import hold_on_to_agent

hold_on_to_agent()  # before the slow imports: an agent may die while its kernels start

from .kernel_app import main  # noqa: E402

main()
