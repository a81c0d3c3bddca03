"""What goes wrong in real notebooks: missing modules, lost answers, new processes, hidden writes, odd objects."""

from __future__ import annotations

import gc
import textwrap

import pytest
from perijove.magics.variables import RemoteValue
from perijove.wire.errors import CannotTravel, RemoteValueError, VariableConflict
from perijove.wire.values.parcel import Parcel

from .conftest import CellFailed


def write_module(notebook, monkeypatch, name, text):
    path = notebook.folder / "project" / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(str(path.parent))
    return path


def only_at_home(notebook, monkeypatch, name, text):
    """A module that counts as installed here and is not installed there."""
    write_module(notebook, monkeypatch, name, text)
    notebook.sync._project._installed += ((notebook.folder / "project").resolve(),)


def test_a_missing_module_fails_only_when_used_and_names_it(notebook, monkeypatch):
    only_at_home(notebook, monkeypatch, "homeonly", "class Thing:\n    pass\n")
    notebook.local(
        "import homeonly as ho\nthing = ho.Thing()\ndef f(): return ho\ndef g(flag): return ho if flag else 1"
    )
    assert notebook.gpu("g(False)") == 1
    with pytest.raises(CellFailed, match="module 'homeonly', which the notebook calls 'ho', cannot be imported"):
        notebook.gpu("f()")
    with pytest.raises(CellFailed, match="variable 'thing' cannot travel to the kernel, because the module 'homeonly'"):
        notebook.gpu("thing")
    assert type(notebook.ns["thing"]).__name__ == "Thing"
    assert notebook.gpu("thing = 5\nthing") == 5
    assert notebook.ns["thing"] == 5


def test_what_does_not_load_at_home_stays_there(notebook, monkeypatch):
    monkeypatch.chdir(notebook.folder)
    notebook.gpu(
        "import sys, types\nm = types.ModuleType('thereonly'); sys.modules['thereonly'] = m\n"
        "exec('class T:\\n    n = 5', m.__dict__); m.T.__module__ = 'thereonly'\nt = m.T(); ok = 1\nt"
    )
    t = notebook.ns["t"]
    assert isinstance(t, RemoteValue)
    assert notebook.ns["ok"] == 1
    assert notebook.gpu("t.n") == 5
    with pytest.raises(CannotTravel, match="thereonly"):
        t.get()


def test_project_modules_travel_and_reload(notebook, monkeypatch):
    write_module(notebook, monkeypatch, "project_inner", "def base(): return 1\n")
    path = write_module(
        notebook,
        monkeypatch,
        "project_outer",
        "import project_inner\nclass K: pass\ndef f(): return project_inner.base() + 1\n",
    )
    notebook.local("import project_outer\nk = project_outer.K()")
    assert notebook.gpu("project_outer.f(), type(k).__module__") == (2, "project_outer")
    path.write_text("import project_inner\nclass K: pass\ndef f(): return project_inner.base() + 100\n")
    assert notebook.gpu("project_outer.f()") == 101
    write_module(notebook, monkeypatch, "project_late", "x = 7\n")
    assert notebook.gpu("from project_late import x\nx") == 7
    path.write_text("1/0\n")
    notebook.gpu("project_outer.f()")
    assert "%gpu restart" in notebook.sync.warnings[0]


def test_submodules_come_with_their_package(notebook):
    notebook.local("import xml.dom.minidom\nimport concurrent.futures\ndef f(): return concurrent.futures.Future")
    assert notebook.gpu("xml.dom.minidom.parseString('<a/>').firstChild.tagName") == "a"
    assert notebook.gpu("f().__name__") == "Future"


def test_a_new_process_gets_everything_again(notebook):
    notebook.local("x = [1]\ndef f(): return x")
    notebook.gpu("f()\nbig = bytearray(2_000_000)")
    big = notebook.ns["big"]
    notebook.restart()
    assert "lost" in repr(big)
    with pytest.raises(RemoteValueError, match="lost"):
        big.get()
    assert notebook.gpu("f()") == [1]
    with pytest.raises(
        CannotTravel, match="variable 'big' cannot be used here, because the object it stood for is lost"
    ):
        notebook.gpu("big")


def test_a_new_process_that_nobody_announced(notebook):
    notebook.local("x = [1]\ny = 2")
    notebook.gpu("x, y\nbig = bytearray(2_000_000)")
    notebook.stop()
    notebook.start()
    assert notebook.gpu("x.append(3)\nx") == [1, 3]
    assert notebook.ns["x"] == [1, 3]
    assert "lost" in repr(notebook.ns["big"])


def test_an_answer_that_never_arrived_is_not_lost(notebook):
    notebook.local("x = [1]\ny = 0")
    notebook.gpu("x")
    notebook._call("begin", notebook.sync.compose("x.append(2)\nz = 5"))
    notebook._call("run", cell="x.append(2)\nz = 5")
    notebook._call("finish")  # and nobody absorbs it
    assert notebook.ns["x"] == [1]
    assert notebook.gpu("x") == [1, 2]
    assert notebook.ns["x"] == [1, 2]
    notebook._call("begin", notebook.sync.compose("x.append(3)"))
    notebook._call("run", cell="x.append(3)")
    notebook._call("finish")
    notebook.local("x = 'mine'")
    with pytest.raises(VariableConflict, match="'x'"):
        notebook.gpu("x")
    notebook.sync.push(["x"])
    assert notebook.gpu("x") == "mine"


def test_writes_that_no_analysis_sees_come_back(notebook):
    notebook.local("z = 1\nq = [0]")
    notebook.gpu("exec('z = 2; fresh = 3')\nglobals()['direct'] = 4")
    assert [notebook.ns[name] for name in ("z", "fresh", "direct")] == [2, 3, 4]
    notebook.gpu("import threading\nt = threading.Thread(target=lambda: q.append(1)); t.start(); t.join(); del t")
    assert notebook.ns["q"] == [0, 1]
    notebook.gpu("def setter():\n    global made\n    made = 9\nsetter()")
    assert notebook.ns["made"] == 9


def test_errors_keep_what_was_done(notebook):
    notebook.local("xs = []")
    with pytest.raises(CellFailed, match="KeyboardInterrupt"):
        notebook.gpu("xs.append(1)\ny = 2\nraise KeyboardInterrupt\nz = 3")
    assert notebook.ns["xs"] == [1]
    assert notebook.ns["y"] == 2
    assert "z" not in notebook.ns


def test_other_python_version_moves_data_and_refuses_code(notebook, monkeypatch):
    notebook.local("x = [1]\ndef f(): return 1")
    for module in ("perijove.magics.variables.outgoing",):
        monkeypatch.setattr(f"{module}.python_version", lambda: [3, 99])
    assert notebook.gpu("x") == [1]
    with pytest.raises(
        CellFailed, match=r"variable 'f' cannot travel.*compiled by Python 3\.99.*data travels.*code does not"
    ):
        notebook.gpu("f()")


def test_names_in_restricts_and_checks(notebook):
    notebook.local("a = 1\nb = 2")
    assert notebook.gpu("a", names_in=["a"]) == 1
    with pytest.raises(CannotTravel, match="no variable 'nope'"):
        notebook.gpu("a", names_in=["nope"])


def test_large_changed_input_becomes_a_handle_and_returns_whole_on_request(notebook):
    notebook.local("import numpy as np\na = np.zeros(300_000)")
    notebook.gpu("a[0]")
    assert notebook.ns["a"].nbytes == 2_400_000
    notebook.gpu("a[0] = 1")
    assert isinstance(notebook.ns["a"], RemoteValue)
    notebook.sync.fetch(["a"])
    assert notebook.ns["a"][0] == 1
    assert notebook.ns["a"].flags.writeable
    notebook.gpu("a[1] = 1", names_out=["a"])
    assert notebook.ns["a"][1] == 1
    assert notebook.gpu("float(a.sum())") == 2.0


def test_handles_inside_values(notebook):
    notebook.gpu(
        "big = bytearray(2_000_000)\nclass M: pass\nm = M(); m.data = bytes(3_000_000)\nd = {'model': m, 'acc': 0.5}"
    )
    ns = notebook.ns
    assert isinstance(ns["m"], RemoteValue)
    assert ns["d"]["acc"] == 0.5
    assert ns["d"]["model"] is ns["m"]
    assert notebook.gpu("d['model'] is m") is True
    notebook.local("mine = [m, 1]")
    assert notebook.gpu("mine[0] is m") is True
    notebook.gpu("pass", names_out=["d"])
    assert len(ns["d"]["model"].data) == 3_000_000


def test_last_results_and_private_names(notebook):
    notebook.local("_helper = [5]\ndef use(): return _helper[0]")
    assert notebook.gpu("use() + _helper[0]") == 10
    notebook.local("_helper = [6]")
    assert notebook.gpu("use()") == 6
    value = notebook.gpu("class Big(list): pass\nBig([0]) * 500_000; Big(range(500_000))")
    assert isinstance(value, RemoteValue)
    assert notebook.gpu("len(_)") == 500_000
    number = next(key for key, held in notebook.ns["Out"].items() if held is value)
    assert notebook.gpu(f"len(_{number})") == 500_000
    del value
    notebook.shell.user_ns["Out"].clear()
    for name in [name for name in notebook.ns if name.strip("_0123456789") == "" and name]:
        notebook.ns[name] = ""
    for name in ("_", "__", "___"):
        setattr(notebook.shell.displayhook, name, "")
    notebook.shell.user_ns_hidden.clear()
    gc.collect()
    assert notebook.gpu("0") == 0
    assert notebook.remote("len([o for o in __import__('gc').get_objects() if type(o).__name__ == 'Big'])") == "0"


def test_figures_and_widgets_stay(notebook):
    notebook.gpu(
        "import matplotlib; matplotlib.use('agg'); import matplotlib.pyplot as plt\n"
        "fig, ax = plt.subplots()\nplt.close(fig)"
    )
    assert isinstance(notebook.ns["fig"], RemoteValue)
    assert isinstance(notebook.ns["ax"], RemoteValue)
    notebook.gpu("import ipywidgets\nw = ipywidgets.IntSlider()\nws = [w]")
    assert isinstance(notebook.ns["w"], RemoteValue)
    assert notebook.ns["ws"][0] is notebook.ns["w"]


def test_a_bad_alias_takes_nothing_down(notebook):
    notebook.local("import threading\na = [1]\nodd = {'a': a, 'lock': threading.Lock()}")
    assert notebook.gpu("a.append(2)\na") == [1, 2]
    with pytest.raises(CannotTravel, match=r"variable 'odd'.*it holds a lock"):
        notebook.gpu("odd")


def test_the_namespace_itself_does_not_travel(notebook):
    notebook.local("g = {'all': globals()}\nx = 1")
    with pytest.raises(CannotTravel, match="whole namespace"):
        notebook.gpu("g")
    assert notebook.gpu("x") == 1


def test_sent_memory_is_not_copied_and_received_memory_is_used(notebook):
    notebook.local("import numpy as np\na = np.ones(2_000_000)\nb = bytes(3_000_000)\nt = np.ones((1000, 1000)).T")
    parcel = notebook.sync.compose("a, b, t")
    assert isinstance(parcel, Parcel)
    address = notebook.ns["a"].__array_interface__["data"][0]
    import numpy as np

    addresses = {
        np.frombuffer(each, "u1").__array_interface__["data"][0] for each in parcel.buffers if len(each) > 10**6
    }
    assert address in addresses
    assert any(each is notebook.ns["b"] for each in parcel.buffers)
    assert notebook.ns["t"].__array_interface__["data"][0] in addresses


def test_redefinition_and_reset(notebook):
    notebook.local("class C: v = 1\nold = C()")
    assert notebook.gpu("old.v, isinstance(old, C)") == (1, True)
    notebook.local("class C: v = 2\nnew = C()")
    assert notebook.gpu("old.v, new.v, isinstance(old, C), isinstance(new, C)") == (1, 2, False, True)
    notebook.gpu("get_ipython().reset(new_session=False)")
    assert "old" not in notebook.ns


def test_background_names_and_builtins_still_work(notebook):
    with pytest.raises(CellFailed, match="NameError: name 'undefined_thing' is not defined"):
        notebook.gpu("undefined_thing")
    assert notebook.gpu("import builtins\nbuiltins.added = 5\nadded + len([1])") == 6
    assert notebook.gpu("[hasattr(__builtins__, 'get') for _ in range(2)], max(1, 2)")[1] == 2
