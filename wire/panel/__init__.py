"""The panel: what a kernel's GPU does and costs, live, in a notebook's output.

Pure: the broker's words in, widget messages out, whoever then publishes them. A local notebook publishes them itself
(``widgets/``), a GPU kernel's front does where the notebook runs on one (``wire/front/``).
"""

WIDGET_TARGET = "jupyter.widget"  # the comm target of Jupyter's widgets
