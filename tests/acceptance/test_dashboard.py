"""The broker's page in a real browser, beside a notebook whose kernels hold simulated GPUs."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("playwright", reason="the broker's page needs the package playwright")

from perijove.wire.money import format_dollars
from playwright.sync_api import Browser, Page, expect, sync_playwright

from .jupyterlab.conftest import CHROMIUM, FLAGS
from .notebook_kernel import NotebookKernel
from .observing import wait_until

BUSY = """%%gpu H100
import time
ended = time.time() + 60
while time.time() < ended:
    sum(range(100_000))
    time.sleep(0.001)
"""


@pytest.fixture
def browser() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        pytest.skip("the broker's page needs chromium, which is not installed here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


def embedded(environment: dict[str, str]) -> tuple[dict[str, Any], str]:
    """The broker that the notebook has started: what it says of itself, and the user's token."""
    directory = Path(environment["PERIJOVE_DATA"]) / "embedded"
    return json.loads((directory / "broker.json").read_text()), (directory / "token").read_text().strip()


def opened(browser: Browser, environment: dict[str, str], **options: Any) -> tuple[Page, list[str]]:
    """The page, logged in by its link, and what it has complained of or asked elsewhere."""
    broker, token = embedded(environment)
    page = browser.new_context(**options).new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("request", lambda asked: None if asked.url.startswith(broker["url"]) else complaints.append(asked.url))
    page.goto(f"{broker['url']}/#token={token}")
    expect(page.locator("#connection")).to_have_text("live", timeout=15_000)
    assert token not in page.url
    return page, complaints


def test_a_kernel_is_watched_limited_and_released(
    own_env: dict[str, str], own_notebook: NotebookKernel, browser: Browser
) -> None:
    own_notebook.run("%%gpu H100\nkept = 41")
    page, complaints = opened(browser, own_env)
    kernel = page.locator("#kernels article")
    expect(kernel).to_have_count(1, timeout=15_000)
    expect(kernel).to_contain_text(re.compile(r"This lease\$\d\.\d{4} simulated"))
    expect(page.locator("#gpus article").first).to_contain_text("held")
    expect(page.locator("#gpus article").first.locator("polyline")).to_have_count(1, timeout=15_000)
    expect(page.locator("#spending tr")).to_contain_text("simulated", timeout=15_000)
    if pictures := os.environ.get("PERIJOVE_PICTURES"):
        running = own_notebook.start(BUSY)
        page.wait_for_timeout(25_000)
        page.screenshot(path=str(Path(pictures) / "broker-page.png"))
        own_notebook.interrupt()
        own_notebook.finish(running)

    amounts = [0, 1, 99_999, 150_000, 250_000, 3_891_000, 9_999_950_000, 10_005_000_000, 12_345_678_901_234]
    said = page.evaluate("async (amounts) => amounts.map((await import('/dashboard/figures.js')).dollars)", amounts)
    assert said == [format_dollars(amount) for amount in amounts], "the page rounds as everything else does"

    kernel.get_by_role("button", name="Budget…").click()
    page.get_by_label("Dollars").fill("much")
    page.get_by_role("button", name="Set").click()
    expect(page.locator("#dialog-problem")).to_contain_text("decimal")
    assert [text for text in complaints if "422" not in text] == []
    complaints.clear()
    page.get_by_label("Dollars").fill("$2.50")
    page.keyboard.press("Enter")
    expect(kernel).to_contain_text("of $2.5000")
    expect(kernel.locator("meter")).to_be_visible()

    kernel.get_by_role("button", name="Release").click()
    expect(page.locator("#dialog-text")).to_have_text("Its variables are kept.")
    page.get_by_role("button", name="Release", exact=True).last.click()
    expect(kernel).to_contain_text("suspended", timeout=15_000)
    expect(kernel.get_by_role("button", name="Release")).to_be_disabled()
    assert own_notebook.run("%%gpu H100\nprint(kept + 1)").stdout == "42\n"

    running = own_notebook.start(BUSY)
    expect(kernel).to_contain_text("busy", timeout=15_000)
    kernel.get_by_role("button", name="Release").click()
    expect(page.locator("#dialog-text")).to_have_text("The cell that runs is interrupted. Its variables are kept.")
    page.get_by_role("button", name="Release", exact=True).last.click()
    assert own_notebook.finish(running).error.startswith("KeyboardInterrupt")
    expect(kernel).to_contain_text("suspended", timeout=15_000)
    assert complaints == []


def test_budgets_are_set_and_said(own_env: dict[str, str], own_notebook: NotebookKernel, browser: Browser) -> None:
    own_notebook.run("%%gpu H100\nx = 1")
    page, complaints = opened(browser, own_env)
    row = page.locator("#spending tr")
    expect(row).to_have_count(1)
    row.get_by_role("button", name="Budgets of").click()
    page.get_by_label("Dollars").fill("50")
    page.keyboard.press("Enter")
    expect(row.locator("td").nth(1)).to_contain_text(re.compile(r"simulatedof \$50\.00"), timeout=15_000)
    expect(row.locator("td").nth(1).locator("meter")).to_be_visible()
    row.get_by_role("button", name="Budgets of").click()
    expect(page.get_by_label("Dollars")).to_have_value("50")
    page.get_by_label("Budget of").select_option("each kernel")
    expect(page.get_by_label("Dollars")).to_have_value("")
    page.get_by_label("Dollars").fill("0.5")
    page.get_by_role("button", name="Set").click()
    expect(row.locator("td").nth(3)).to_have_text("at most $0.5000", timeout=15_000)
    if pictures := os.environ.get("PERIJOVE_PICTURES"):
        page.locator("section:has(#spending)").screenshot(path=str(Path(pictures) / "broker-page-budgets.png"))
    assert "of $50.00 left" in own_notebook.run("%gpu budget month").stdout
    row.get_by_role("button", name="Budgets of").click()
    page.get_by_label("Dollars").fill("")
    page.get_by_role("button", name="Set").click()
    expect(row.locator("td").nth(1)).not_to_contain_text("of $", timeout=15_000)
    assert complaints == []


def test_an_agent_is_drained_and_taken_up_again(
    own_env: dict[str, str], own_notebook: NotebookKernel, browser: Browser
) -> None:
    own_notebook.run("%%gpu H100\nkept = 41")
    page, complaints = opened(browser, own_env)
    running = own_notebook.start(BUSY)
    expect(page.locator("#kernels article")).to_contain_text("busy", timeout=15_000)
    agent = page.locator("#agents article")
    expect(agent).to_contain_text("connected")
    agent.get_by_role("button", name="Drain…").click()
    page.get_by_label("Seconds").fill("soon")
    page.get_by_role("button", name="Drain", exact=True).click()
    expect(page.locator("#dialog-problem")).to_have_text("this is no number of seconds")
    page.get_by_label("Seconds").fill("600")
    page.keyboard.press("Enter")
    expect(agent).to_contain_text("draining")
    expect(agent.locator("[data-part=why]")).to_have_text(
        re.compile(r"Asked by .+; 1 kernel still on it, released at ")
    )
    expect(page.locator("#gpus article").last).to_contain_text("nothing new comes here")
    if pictures := os.environ.get("PERIJOVE_PICTURES"):
        agent.screenshot(path=str(Path(pictures) / "agent-draining.png"))
    own_notebook.interrupt()
    own_notebook.finish(running)
    expect(agent).to_contain_text("drained", timeout=15_000)
    expect(agent).to_contain_text("1 kernel would lose their variables if it stopped now")
    assert own_notebook.run("%%gpu H100\nprint(kept)").error.startswith("VariablesElsewhere")
    agent.get_by_role("button", name="Take new work again").click()
    page.get_by_role("button", name="Take new work", exact=True).click()
    expect(agent).to_contain_text("connected")
    assert own_notebook.run("%%gpu H100\nprint(kept)").stdout == "41\n"
    assert complaints == []


def test_charts_begin_with_what_was_before(
    own_env: dict[str, str], own_notebook: NotebookKernel, browser: Browser
) -> None:
    own_notebook.run("%%gpu H100\nx = 1")
    first, _ = opened(browser, own_env)
    lines = "#gpus article:first-child polyline"  # one for each run of seconds that are known
    all_points = "flatMap((line) => line.getAttribute('points').split(' '))"
    points = f"[...document.querySelectorAll('{lines}')].{all_points}.length"
    wait_until(lambda: bool(first.evaluate(points) >= 4))  # the page's policy lets no test wait in it
    told = first.evaluate(points)
    again, complaints = opened(browser, own_env)
    expect(again.locator(lines).first).to_be_attached()
    assert again.evaluate(points) >= told
    assert complaints == []


def test_a_broker_that_is_away_is_said_and_found_again(
    own_env: dict[str, str], own_notebook: NotebookKernel, browser: Browser
) -> None:
    own_notebook.run("%%gpu H100\nx = 1")
    page, _ = opened(browser, own_env)
    broker = psutil.Process(embedded(own_env)[0]["pid"])
    broker.suspend()
    try:
        expect(page.locator("#connection")).to_contain_text("the broker does not answer", timeout=15_000)
        expect(page.locator("#kernels article")).to_have_count(1)
    finally:
        broker.resume()
    expect(page.locator("#connection")).to_have_text("live", timeout=15_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_narrow_screen_nothing_is_cut_off(
    perijove_env: dict[str, str], notebook: NotebookKernel, browser: Browser, scheme: str
) -> None:
    notebook.run("%%gpu H100\nx = 1")
    page, complaints = opened(
        browser, perijove_env, viewport={"width": 300, "height": 800}, color_scheme=scheme, has_touch=True
    )
    expect(page.locator("#kernels article").first).to_be_visible()
    if pictures := os.environ.get("PERIJOVE_PICTURES"):
        page.screenshot(path=str(Path(pictures) / f"narrow-{scheme}.png"), full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 300
    assert complaints == []


def test_a_wrong_token_is_said(perijove_env: dict[str, str], notebook: NotebookKernel, browser: Browser) -> None:
    notebook.run("%%gpu H100\nx = 1")
    broker, token = embedded(perijove_env)
    page = browser.new_page()
    page.goto(broker["url"])
    page.get_by_label("Your token").fill("nobody's")
    page.keyboard.press("Enter")
    expect(page.locator("#log-in")).to_contain_text("not known here")
    page.get_by_label("Your token").fill(token)
    page.keyboard.press("Enter")
    expect(page.locator("#connection")).to_have_text("live", timeout=15_000)
    page.reload()
    expect(page.locator("#connection")).to_have_text("live", timeout=15_000)
    page.get_by_role("button", name="Log out").click()
    page.reload()
    expect(page.get_by_label("Your token")).to_be_visible()
