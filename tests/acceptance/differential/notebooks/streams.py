"""stdout and stderr, in all the ways that programs reach them."""

from __future__ import annotations

from ..notebook import gpu, local, notebook, stays

NOTEBOOKS = (
    notebook(
        "streams-interleaved-and-flushed",
        gpu("""
            import sys
            for n in range(3):
                print("out", n)
                sys.stdout.flush()
                print("err", n, file=sys.stderr)
                sys.stderr.flush()
        """),
        local("print(n)"),
    ),
    notebook(
        "streams-print-options",
        gpu(r"""
            print("a", "b", sep="-", end="|\n")
            print("no newline", end="")
            print("\r50 %", end="\r", flush=True)
            print("100 %", end="\r")
            print()
            print("tab\there", "bell\a", "back\b\bspace", "form\ffeed", sep="\n")
        """),
        gpu("print(end='')"),
        gpu("print()"),
    ),
    notebook(
        "streams-huge-output",
        gpu("""
            for n in range(5000):
                print(n, "x" * 20)
        """),
        gpu("print('y' * 300_000)"),
    ),
    notebook(
        "streams-unicode",
        gpu("print('äöü ß € 漢字 😀 👩‍👩‍👧 \\u202eabc \\u0000 \\x1b[31mred\\x1b[0m')"),
        gpu("'é😀', '\\ud800', '\\x00'"),
    ),
    notebook("streams-escaped-bytes", gpu("print('a\\udc80b')"), gpu("'still works'")),
    notebook(
        "streams-bytes-through-the-buffer",
        gpu("""
            import sys
            try:
                sys.stdout.buffer.write(b"\\xff\\xfe raw\\n")
            except Exception as error:
                print(type(error).__name__, error)
        """),
    ),
    notebook(
        "streams-native-output",
        gpu("""
            import os, subprocess
            written = os.write(1, b"from the file descriptor\\n")
        """),
        gpu("done = subprocess.run(['sh', '-c', 'echo to stdout; echo to stderr >&2'], check=True).returncode"),
        gpu("status = os.system('echo system')"),
        gpu("binary = subprocess.run(['printf', '\\\\377\\\\376 binary'], check=True).returncode"),
        local("written, done, status, binary"),
    ),
    notebook(
        "streams-facts",
        gpu("""
            import sys
            print(sys.stdout.isatty(), sys.stderr.isatty(), sys.stdin.isatty())
            print(sys.stdout.encoding, sys.stdout.errors, sys.stdout.name, sys.stdout.writable(), sys.stdout.readable())
            print(type(sys.stdout).__mro__[1].__name__, sys.stdout.closed, sys.stdout.line_buffering)
        """),
        gpu("sys.stdout.write('seven chars')"),
        gpu("sys.stdout.writelines(['one\\n', 'two\\n'])"),
    ),
    notebook(
        "streams-redirected-in-the-cell",
        gpu("""
            import contextlib, io
            text = io.StringIO()
            with contextlib.redirect_stdout(text):
                print("caught")
                help(len)
            caught = text.getvalue()
        """),
        local("print(caught)"),
    ),
    notebook(
        "streams-logging",
        gpu("""
            import logging
            log = logging.getLogger("differential")
            log.warning("shown by the last resort handler")
            handler = logging.StreamHandler()
            handler.setFormatter(logging.Formatter("%(levelname)s:%(name)s:%(funcName)s:%(lineno)d:%(message)s"))
            log.addHandler(handler)
            log.error("with a handler")
            log.info("too quiet")
            try:
                1 / 0
            except ZeroDivisionError:
                log.exception("it failed")
        """),
        gpu("log.setLevel(logging.DEBUG)\nlog.debug('in a later cell')"),
        gpu("log.removeHandler(handler)"),
        differs=stays(handler="logging.StreamHandler"),
    ),
    notebook(
        "streams-warnings",
        gpu("""
            import warnings
            def old():
                warnings.warn("old is deprecated", DeprecationWarning, stacklevel=2)
            old()
            warnings.warn("careful")
            warnings.warn("careful")
        """),
        gpu("for n in range(2):\n    warnings.warn('twice on one line', RuntimeWarning)"),
        gpu("with warnings.catch_warnings(record=True) as seen:\n    warnings.warn('caught')\nstr(seen[0].message)"),
        gpu("import numpy as np\nnp.array([1.0]) / 0"),
        gpu("np.log(np.float64(-1))"),
        gpu("assert (1, 'always true')"),
        gpu("'\\d'"),
    ),
    notebook(
        "streams-threads-that-print",
        gpu("""
            import threading
            def work(n):
                print("thread", n)
            for n in range(3):
                thread = threading.Thread(target=work, args=(n,))
                thread.start()
                thread.join()
            print("main")
            del thread
        """),
        gpu("""
            from concurrent.futures import ThreadPoolExecutor
            with ThreadPoolExecutor(1) as pool:
                results = list(pool.map(lambda n: print("pool", n) or n * n, range(3)))
            del pool
        """),
        local("results"),
    ),
    notebook(
        "streams-a-thread-that-fails",
        gpu("""
            import threading
            def fail():
                raise ValueError("in a thread")
            failing = threading.Thread(target=fail, name="failing")
            failing.start()
            failing.join()
            del failing
        """),
        gpu("'goes on'"),
    ),
    notebook(
        "streams-after-the-cell",
        gpu(
            """
            import threading
            over, printed = threading.Event(), threading.Event()
            def later():
                over.wait()
                print("after the cell")
                printed.set()
            def at_end(result):
                over.set()
            background = threading.Thread(target=later)
            background.start()
            get_ipython().events.register("post_run_cell", at_end)
        """,
            keep := "--keep over,printed,background",
        ),
        gpu("printed.wait(), background.join(), get_ipython().events.unregister('post_run_cell', at_end)", keep),
        gpu("del over, printed, background, later", keep),
    ),
    notebook(
        "streams-exit-handlers-and-hooks",
        gpu(
            """
            import sys
            shown = []
            previous = sys.displayhook
            sys.displayhook = lambda value: shown.append(repr(value))
        """,
            "--keep previous",
        ),
        gpu("1 + 1"),
        gpu("sys.displayhook = previous\nshown", "--keep previous"),
        gpu("del previous"),
    ),
    notebook(
        "streams-help",
        gpu("help(abs)"),
        gpu("""
        def documented(a: int, b: str = "x") -> bool:
            \"\"\"Says what it does.\"\"\"
        help(documented)
    """),
    ),
    notebook("streams-pprint", gpu("from pprint import pprint\npprint({n: list(range(n)) for n in range(12)})")),
)
