"""A real JupyterLab in a real browser, once per test session; each test opens notebooks with kernels of their own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest
import pytest_asyncio

pytest.importorskip("playwright", reason="JupyterLab in a browser needs the package playwright")

from playwright.async_api import Browser, BrowserContext, async_playwright

from .lab import Lab, Notebook
from .server import JupyterLabServer


class NewNotebook(Protocol):
    def __call__(self, name: str, cells: Sequence[str], kernel: str = ...) -> Awaitable[Notebook]: ...


CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",  # Chromium refuses to sandbox for root, which is who runs tests in containers
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
SLOWEST_STEP_MS = 30_000


@pytest.fixture(scope="package")
def chromium() -> str:
    """The path of the browser."""
    for name in CHROMIUM:
        if path := shutil.which(name):
            return path
    pytest.skip("JupyterLab in a browser needs chromium, which is not installed here")


@pytest.fixture(scope="package")
def short_directory() -> Iterator[Path]:
    """pytest's own directories are too deep for the path of a Unix socket."""
    path = Path(tempfile.mkdtemp(prefix="pj-"))
    yield path
    shutil.rmtree(path)


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def jupyterlab(chromium: str, short_directory: Path) -> AsyncIterator[JupyterLabServer]:
    server = JupyterLabServer(short_directory)
    async with server:
        yield server
    assert not server.processes(), "JupyterLab, its kernels or their broker left processes behind"


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    context = await browser.new_context(viewport={"width": 1280, "height": 1000})
    context.set_default_timeout(SLOWEST_STEP_MS)
    yield context
    await context.close()


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def lab(context: BrowserContext, jupyterlab: JupyterLabServer) -> Lab:
    """JupyterLab's page, shared: loading it takes seconds."""
    lab = Lab(await context.new_page(), jupyterlab.notebooks)
    await lab.load(jupyterlab.lab_url())
    await lab.command("application:toggle-left-area")
    return lab


@pytest_asyncio.fixture(loop_scope="package")
async def new_notebook(lab: Lab) -> AsyncIterator[NewNotebook]:
    """Makes a notebook from a name and the code of its cells; closes it, and ends its kernel, after the test."""
    opened: list[Notebook] = []

    async def make(name: str, cells: Sequence[str], kernel: str = "python3") -> Notebook:
        notebook = await lab.new_notebook(name, cells, kernel)
        opened.append(notebook)
        return notebook

    yield make
    for notebook in opened:
        await notebook.close()
