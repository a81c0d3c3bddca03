"""What VS Code runs unseen in a kernel that it has started: the kinds of cells it sends, in words of our own.

They have ``silent: false`` and ``store_history: false``. Source: the Jupyter extension's behaviour (FACTS: "Hidden
code"): the ipywidgets version, a stand-in module for its own name, the notebook's path, completion without jedi,
matplotlib's set-up; and completion by a thread that answers when the cell is long over.
"""

from __future__ import annotations

from typing import Any

HIDDEN: dict[str, Any] = {"silent": False, "store_history": False, "allow_stdin": False}

WIDGETS_VERSION = """
try:
    import ipywidgets as _widgets
    print(_widgets.__version__.split('.')[0])
except ImportError:
    print('none')
"""
STAND_IN = """
import sys as _sys, types as _types
_stand_in = _types.ModuleType('vscode')
_sys.modules['vscode'] = _stand_in
del _sys, _types, _stand_in
"""
NOTEBOOK_PATH = "if '__vsc_ipynb_file__' not in globals():\n    __vsc_ipynb_file__ = '/notebooks/work.ipynb'"
WITHOUT_JEDI = "%config Completer.use_jedi = False"
PLOTTING = "try:\n    %matplotlib inline\nexcept Exception:\n    pass"
AT_START = (WIDGETS_VERSION, STAND_IN, NOTEBOOK_PATH, WITHOUT_JEDI, PLOTTING)


def completion(prefix: str, display_id: str) -> str:
    """A hidden cell whose thread answers into a display, after the cell's end."""
    return f"""
def _complete():
    import threading, time
    from IPython.display import display
    shell = get_ipython()
    parent = shell.get_parent()
    handle = display({{'application/json': {{}}}}, raw=True, display_id={display_id!r})
    def work():
        time.sleep(0.3)
        shell.set_parent(parent)
        found = sorted(name for name in shell.user_ns if name.startswith({prefix!r}))
        handle.update({{'application/json': found}}, raw=True)
    threading.Thread(target=work, daemon=True).start()
_complete()
del _complete
"""
