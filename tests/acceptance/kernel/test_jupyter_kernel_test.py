"""Jupyter's own test of kernels, with every feature that a Python kernel has, on ours: from its start, when nothing is
attached, and after an idle release. On ipykernel as well, as the control."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any
from unittest import mock

import jupyter_kernel_test as jkt
import pytest
from jupyter_client.manager import start_new_kernel

from ..conftest import perijove, running_environment

pytestmark = pytest.mark.xdist_group("jupyter_kernel_test")


class Python(jkt.KernelTests):
    """What its authors ask of ipykernel."""

    __test__ = False
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples = [{"text": "zi", "matches": {"zip"}}]  # noqa: RUF012 - the library's own form
    complete_code_samples = ["1", "print('hello, world')", "def f(x):\n  return x*2\n\n\n"]  # noqa: RUF012
    incomplete_code_samples = ["print('''hello", "def f(x):\n  x*2"]  # noqa: RUF012
    invalid_code_samples = ["import = 7q"]  # noqa: RUF012
    code_page_something = "zip?"
    code_generate_error = "raise"
    code_execute_result = [{"code": "1+2+3", "result": "6"}]  # noqa: RUF012
    code_display_data = [  # noqa: RUF012
        {"code": "from IPython.display import HTML, display; display(HTML('<b>test</b>'))", "mime": "text/html"},
        {"code": "from IPython.display import Math, display; display(Math('\\\\frac{1}{2}'))", "mime": "text/latex"},
    ]
    code_history_pattern = "1?2*"
    supported_history_operations = ("tail", "search")
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"
    support_iopub_welcome = True

    environment: dict[str, str]

    @classmethod
    @contextlib.contextmanager
    def surroundings(cls) -> Generator[dict[str, str]]:
        yield dict(os.environ)

    @classmethod
    def setUpClass(cls) -> None:
        cls.environment = cls.enterClassContext(cls.surroundings())
        cls.km, cls.kc = start_new_kernel(kernel_name=cls.kernel_name, env=cls.environment)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.kc.stop_channels()
        cls.km.shutdown_kernel()


class TestIpykernel(Python):
    __test__ = True
    kernel_name = "python3"


class TestGpuKernel(Python):
    __test__ = True
    kernel_name = "perijove-h100"

    @classmethod
    @contextlib.contextmanager
    def surroundings(cls) -> Generator[dict[str, str]]:
        with contextlib.ExitStack() as stack:
            directory = Path(stack.enter_context(_short_directory()))
            environment = stack.enter_context(contextlib.contextmanager(running_environment)(directory))
            environment["PERIJOVE_IDLE_TIMEOUT_S"] = "6"
            perijove(environment, "install", "--gpu", "H100", "--prefix", str(directory))
            path = {"JUPYTER_PATH": str(directory / "share" / "jupyter")}
            stack.enter_context(mock.patch.dict(os.environ, path))
            yield environment


class TestGpuKernelAfterItsRelease(TestGpuKernel):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.kc.execute_interactive("kept = 6", timeout=60)
        deadline = time.monotonic() + 60
        while states(cls.environment) != {"suspended"}:
            assert time.monotonic() < deadline, "the idle kernel was not released"
            time.sleep(0.2)

    def test_a_variable_is_still_there(self) -> None:
        """Alphabetically first, and so what resumes the kernel."""
        _, outputs = self.execute_helper("kept")
        assert outputs[0]["content"]["data"]["text/plain"] == "6"


def states(environment: dict[str, str]) -> set[str]:
    document: dict[str, Any] = json.loads(perijove(environment, "status", "--json"))
    return {kernel["state"] for kernel in document["kernels"]}


@contextlib.contextmanager
def _short_directory() -> Generator[str]:
    directory = tempfile.mkdtemp(prefix="pj-")  # paths of sockets are limited
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
