"""Errors: what is shown, what the reply says, and what stays assigned."""

from __future__ import annotations

from ..notebook import gpu, local, notebook

NOTEBOOKS = (
    notebook(
        "error-in-the-cell",
        gpu("before = 1\n\n1 / 0\nafter = 2"),
        local("before, 'after' in globals()"),
        gpu("undefined_name"),
        gpu("{}['key']"),
        gpu("(5).nothing"),
        gpu("import no_such_module"),
        gpu("from math import no_such_function"),
        gpu("open('/no/such/file')"),
        gpu("raise ValueError('several\\nlines', 2)"),
        gpu("raise ValueError"),
        gpu("assert 1 == 2, 'not equal'"),
        gpu("'a' + 1"),
    ),
    notebook(
        "error-through-functions-of-other-cells",
        local("def inner(n):\n    return 1 / n\n\ndef outer(n):\n    return inner(n)"),
        gpu("outer(0)"),
        gpu("def third(n):\n    # a comment\n    return outer(n)"),
        local("third(0)"),
        gpu("third(0)"),
        gpu("[outer(n) for n in (1, 0)]"),
        gpu("import json\njson.loads('{bad}')"),
        local("%tb"),
    ),
    notebook(
        "error-chains",
        gpu("try:\n    {}['k']\nexcept KeyError as error:\n    raise RuntimeError('caused') from error"),
        gpu("try:\n    1 / 0\nexcept ZeroDivisionError:\n    [][1]"),
        gpu("try:\n    1 / 0\nexcept ZeroDivisionError:\n    raise ValueError('alone') from None"),
        gpu("error = ValueError('noted')\nerror.add_note('a note')\nraise error"),
        gpu("raise ExceptionGroup('several', [ValueError('one'), ExceptionGroup('in', [TypeError('two')])])"),
    ),
    notebook(
        "error-own-classes",
        local("class Problem(Exception):\n    def __init__(self, code):\n        super().__init__(f'code {code}')"),
        gpu("raise Problem(5)"),
        gpu("try:\n    raise Problem(6)\nexcept Problem as problem:\n    kept = problem"),
        local("kept, type(kept) is Problem"),
        local("try:\n    raise kept\nexcept Problem as again:\n    print(again)"),
    ),
    notebook(
        "error-syntax",
        gpu("x = = 1"),
        gpu("print 'hello'"),
        gpu("def f(:\n  pass"),
        gpu("if True:\nprint(1)"),
        gpu("  x = 1\n y = 2"),
        gpu("'unclosed"),
        gpu("(1,"),
        gpu("return 5"),
        gpu("yield 5"),
        gpu("break"),
        gpu("x = 1\n\tif x:\n  y"),
        gpu("f'{'"),
        gpu("eval('1 +')"),
        gpu("exec('a b')"),
        gpu("nonlocal x"),
        gpu("x: int = 'a'; import"),
    ),
    notebook(
        "error-exits",
        gpu("raise SystemExit"),
        gpu("import sys\nsys.exit(3)"),
        gpu("sys.exit('with text')"),
        gpu("raise KeyboardInterrupt"),
        gpu("raise KeyboardInterrupt('by code')"),
        gpu("raise GeneratorExit"),
        gpu("raise StopIteration(4)"),
        gpu("class Base(BaseException): pass\nraise Base('base')"),
        gpu("'still here'"),
    ),
    notebook(
        "error-recursion",
        gpu(
            "def deep(n):\n    return deep(n + 1)\ntry:\n    deep(0)\nexcept RecursionError as error:\n    print(error)"
        ),
    ),
    notebook(
        "error-keeps-what-was-assigned",
        local("items, count = [1], 0"),
        gpu("items.append(2)\ncount += 5\nmade = {'a': 1}\nraise RuntimeError('half way')\nnever = 1"),
        local("items, count, made, 'never' in globals()"),
        gpu("del count\nitems = 'rebound'\n1 / 0"),
        local("'count' in globals(), items"),
    ),
    notebook(
        "error-modes",
        gpu("%xmode Plain"),
        gpu("1 / 0"),
        gpu("%xmode Minimal"),
        gpu("1 / 0"),
        gpu("%xmode Verbose"),
        gpu("def f(a, b):\n    return a / b\nf(1, 0)"),
        gpu("%xmode Context"),
        gpu("%tb"),
    ),
    notebook(
        "error-printed-by-the-cell",
        gpu("import traceback\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    traceback.print_exc()"),
        gpu("try:\n    1 / 0\nexcept ZeroDivisionError:\n    get_ipython().showtraceback()"),
        gpu("def f():\n    return traceback.format_stack(limit=1)[0]\nprint(f())"),
        local("def g():\n    raise ValueError('g')"),
        gpu("try:\n    g()\nexcept ValueError:\n    print(traceback.format_exc(limit=-1))"),
    ),
    notebook(
        "error-handlers",
        gpu("""
            def own(shell, kind, value, trace, tb_offset=None):
                print("handled", kind.__name__, value)
            get_ipython().set_custom_exc((KeyError,), own)
        """),
        gpu("{}['k']"),
        gpu("1 / 0"),
        gpu("get_ipython().set_custom_exc((), None)"),
    ),
    notebook(
        "error-interrupted",
        gpu(
            """
            import sys, threading, time
            def when_asleep():
                while sys._current_frames()[threading.main_thread().ident].f_lineno != 7:
                    pass
                print("asleep", flush=True)
            done = [1]; threading.Thread(target=when_asleep).start()
            time.sleep(30)
            done.append(2)
            """,
            interrupt_at="asleep",
        ),
        local("done"),
    ),
    notebook(
        "error-interrupted-and-caught",
        gpu(
            """
            import time
            try:
                print("ready", flush=True)
                time.sleep(30)
            except KeyboardInterrupt:
                print("caught")
                caught = True
            """,
            interrupt_at="ready",
        ),
        local("caught"),
    ),
    notebook(
        "error-interrupted-await",
        gpu("import asyncio\nprint('ready', flush=True)\nawait asyncio.sleep(30)", interrupt_at="ready"),
        gpu("'goes on'"),
    ),
    notebook(
        "error-in-repr",
        gpu("class Bad:\n    def __repr__(self):\n        raise ValueError('no repr')\nBad()"),
        gpu("[Bad()]"),
        gpu("print(Bad())"),
    ),
)
