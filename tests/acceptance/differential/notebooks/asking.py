"""input() and getpass()."""

from __future__ import annotations

from ..notebook import Differs, gpu, local, notebook, stays

NOTEBOOKS = (
    notebook(
        "input-answered",
        gpu("name = input('Name? ')\nprint('hello', name)\nage = int(input())", answers=("Ada", "36")),
        local("name, age"),
        gpu("[input(str(n)) for n in range(3)]", answers=("a", "", "ü😀")),
        gpu("print('before', end='')\ninput('prompt')", answers=("x",)),
    ),
    notebook(
        "input-password",
        gpu("from getpass import getpass\nsecret = getpass('Password: ')\nlen(secret)", answers=("s3cret",)),
        gpu("getpass()", answers=("t",)),
        local("secret"),
        differs=stays(getpass="method"),
    ),
    notebook(
        "input-in-functions",
        local("def ask(what):\n    return input(what + '? ')"),
        gpu("ask('colour')", answers=("blue",)),
        gpu("try:\n    number = int(ask('number'))\nexcept ValueError as error:\n    print(error)", answers=("x",)),
    ),
    notebook("input-not-a-number", gpu("int(input())", answers=("seven",))),
    notebook(
        "input-not-allowed",
        gpu("input('anybody? ')", allow_stdin=False),
        gpu("from getpass import getpass\ngetpass()", allow_stdin=False),
        gpu("try:\n    input()\nexcept Exception as error:\n    print(type(error).__name__, error)", allow_stdin=False),
        differs=stays(getpass="method"),
    ),
    notebook(
        "input-end-of-input",
        gpu("input('end? ')", answers=("\x04",)),
        differs=(
            Differs(
                "/step 1/*/traceback",
                "in \\x1b[36mKernel._input_request",
                "RemoteKernel._input_request",
                "input frames",
            ),
        ),
    ),
    notebook("input-from-stdin", gpu("import sys\nsys.stdin.readline()"), gpu("sys.stdin.read()")),
)
