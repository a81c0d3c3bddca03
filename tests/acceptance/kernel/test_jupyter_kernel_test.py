"""jupyter_kernel_test, the Jupyter project's own test of kernels, with everything in it that a kernel may leave out.

Its test cases run in one pytest test each time, since what they find depends on the kernel's state: without a GPU at
first, with one after the first cell.
"""

from __future__ import annotations

import io
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jupyter_kernel_test as library
import pytest

from .at_broker import wait_for_state
from .front_end import GPU_KERNEL, FrontEnd, manager_of

pytestmark = pytest.mark.xdist_group("jupyter_kernel_test")
LEFT_OUT = ["History range not supported"]


class OfARunningKernel(library.KernelTests):
    """Their test cases, with samples for all of them; ``km`` and ``kc`` are set from outside."""

    __test__ = False

    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples = ({"text": "zi", "matches": {"zip"}},)
    complete_code_samples = ("1", "print('hello, world')", "def f(x):\n  return x*2\n\n\n", "%time 1", "!ls")
    incomplete_code_samples = ("print('''hello", "def f(x):\n  x*2", "for i in range(3):", "%%time\n1")
    invalid_code_samples = ("import = 7q", "1 +* 2")
    code_page_something = "zip?"
    code_generate_error = "raise ValueError('made')"
    code_execute_result = (
        {"code": "1+2+3", "result": "6"},
        {"code": "[n*n for n in range(1, 4)]", "result": "[1, 4, 9]"},
    )
    code_display_data = (
        {"code": "from IPython.display import HTML, display; display(HTML('<b>test</b>'))", "mime": "text/html"},
        {"code": "from IPython.display import Math, display; display(Math('\\\\frac{1}{2}'))", "mime": "text/latex"},
    )
    code_history_pattern = "1?2*"
    # Not "range": IPython answers 0 for the session that is asked for when it is the current one, where the library
    # wants its number; so ipykernel's own tests leave it out as well.
    supported_history_operations = ("tail", "search")
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"

    @classmethod
    def setUpClass(cls) -> None:
        pass

    @classmethod
    def tearDownClass(cls) -> None:
        pass


class OfAKernelThatStarts(library.IopubWelcomeTests):
    __test__ = False

    support_iopub_welcome = True

    @classmethod
    def setUpClass(cls) -> None:
        pass

    @classmethod
    def tearDownClass(cls) -> None:
        pass


def check(cases: type[unittest.TestCase], left_out: list[str]) -> None:
    """Run all test cases; none may fail, and no other part be left out."""
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(cases)
    said = io.StringIO()
    outcome = unittest.TextTestRunner(said, verbosity=2).run(suite)
    assert outcome.testsRun == suite.countTestCases() > 0
    assert outcome.wasSuccessful(), said.getvalue()
    assert [reason for _, reason in outcome.skipped] == left_out, said.getvalue()


@contextmanager
def kernel_of(cases: type[library.KernelTests], front_end: FrontEnd) -> Iterator[FrontEnd]:
    with front_end:
        cases.km, cases.kc = front_end.manager, front_end.client
        yield front_end


def test_plain_python_passes(environment: dict[str, str], tmp_path: Path):
    """That the samples are right. Its history is a file, which is not to have others' cells in it."""
    environment = environment | {"IPYTHONDIR": str(tmp_path / "ipython")}
    with kernel_of(OfARunningKernel, FrontEnd("python3", environment, tmp_path)):
        check(OfARunningKernel, LEFT_OUT)


def test_a_gpu_kernel_passes_from_detached_and_again_after_an_idle_release(environment: dict[str, str], tmp_path: Path):
    quick = environment | {"PERIJOVE_IDLE_TIMEOUT_S": "3"}
    with kernel_of(OfARunningKernel, FrontEnd(GPU_KERNEL, quick, tmp_path)) as kernel:
        check(OfARunningKernel, LEFT_OUT)
        kernel.run("kept = 6")
        wait_for_state(kernel, "suspended")
        assert kernel.run("kept").result == "6"
        wait_for_state(kernel, "suspended")
        check(OfARunningKernel, LEFT_OUT)


@pytest.mark.parametrize("name", ["python3", GPU_KERNEL])
def test_a_subscriber_is_welcomed(name: str, environment: dict[str, str], tmp_path: Path):
    manager = manager_of(name, environment)
    manager.start_kernel(env=environment, cwd=str(tmp_path))
    OfAKernelThatStarts.km, OfAKernelThatStarts.kc = manager, manager.client()
    try:
        check(OfAKernelThatStarts, [])
    finally:
        OfAKernelThatStarts.kc.stop_channels()
        manager.shutdown_kernel()
