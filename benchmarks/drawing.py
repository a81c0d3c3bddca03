"""What a browser does to draw the panel: Chromium shows the panel's own script, which is told what the panel of a busy
kernel is told, when it is told that; and then the same page, which is told the same and draws nothing.

There is no JupyterLab around it, so nothing of that is in the difference; nor is there a GPU, so pixels are made on the
processor, too.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from math import sin
from typing import Any

import psutil
from perijove.wire.models import GrantedGpus, KernelState, KernelView, LeaseView
from perijove.wire.panel.panel import Panel, script, styles
from perijove.wire.usage import GpuUsage, HostSample, KernelUsage, UsageAt

from .effort import Effort
from .figures import Figure, NotHere
from .home import Home
from .panel import OF_A_CORE

SUBJECT = "drawing"
HISTORY_S = 120
SETTLES_S = 3.0
RENEWED_EVERY_S = 5.0  # a lease; its kernel's view is told then
PAGE = """async ([source, state, updates, draws]) => {
    const address = URL.createObjectURL(new Blob([source], {type: "text/javascript"}));
    const {default: panel} = await import(address);
    const values = {...state};
    const listeners = [];
    const model = {get: (name) => values[name], on: (name, listener) => listeners.push(listener), off() {}, send() {}};
    if (draws) {
        panel.initialize({model});
        panel.render({model, el: document.body.appendChild(document.createElement("div"))});
    }
    window.updates = 0;
    for (const [ms, now] of updates) setTimeout(() => {
        values.now = now;
        window.updates++;
        for (const listener of listeners) listener();
    }, ms);
}"""

Document = dict[str, Any]


def measure(effort: Effort, here: Home) -> Iterator[Figure]:
    seconds = 30 if effort.cells >= 100 else 3
    told_s = int(SETTLES_S) + seconds + 5
    for what, renewed_every_s in (("a busy panel", RENEWED_EVERY_S), ("… told as often as it may be", 0.1)):
        state, updates = _told(told_s, renewed_every_s)
        nothing, _ = _browsers_percent(seconds, state, updates, draws=False)
        drawn, rate = _browsers_percent(seconds, state, updates, draws=True)
        more = drawn - nothing
        detail = f"{rate:.1f} updates a second; {drawn:.2f} % of a core, {nothing:.2f} % without"
        yield Figure(SUBJECT, f"{what}, in all of Chromium's processes", more, "% of a core", detail, more, OF_A_CORE)


def _browsers_percent(
    seconds: float, state: Document, updates: list[tuple[float, Document]], *, draws: bool
) -> tuple[float, int]:
    """Of one core, by all processes of a browser that shows the page; and how often a second it was told something."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise NotHere("it needs the package playwright") from error
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        raise NotHere("it needs chromium")
    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        page = browser.new_page(viewport={"width": 900, "height": 600})
        page.set_content(f"<style>{styles()}</style>")
        page.evaluate(PAGE, [script(), state, updates, draws])
        time.sleep(SETTLES_S)
        before, told, started = _used_s(), page.evaluate("updates"), time.monotonic()
        time.sleep(seconds)
        used_s, took_s = _used_s() - before, time.monotonic() - started
        rate = (page.evaluate("updates") - told) / took_s
        lines = page.locator(".perijove-panel polyline").count()
        assert lines == draws * 5, f"the charts have {lines} lines: four figures, and the kernel's own memory"
        browser.close()
    return 100 * used_s / took_s, rate


def _used_s() -> float:
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        if "chrom" in process.name():
            times = process.cpu_times()
            total += times.user + times.system
    return total


# what the panel is told ----------------------------------------------------------------------------------------------


def _told(seconds: int, renewed_every_s: float) -> tuple[Document, list[tuple[float, Document]]]:
    """The model's state after two minutes, and in the seconds after that what it is told at which millisecond. There is
    a sample a second, in which every figure has moved, and the broker speaks of the kernel as often as is said."""
    began = datetime(2026, 1, 1, tzinfo=UTC)
    now_s = 0.0
    panel = Panel("panel", "this kernel", lambda: (began + timedelta(seconds=HISTORY_S + now_s)).isoformat())
    panel.view_changed(_view(), 0.0)
    panel.usage_received(_usage([_sample(began, second) for second in range(HISTORY_S)]), 0.0)
    state = panel.state(0.0)
    updates = []
    renewed_at, sampled_at = 0.0, 0.0
    for tick in range(1, 20 * seconds):
        now_s = tick / 20
        if now_s - renewed_at >= renewed_every_s:
            renewed_at = now_s
            panel.view_changed(_view(), now_s)
        if now_s - sampled_at >= 1:
            sampled_at = now_s
            panel.usage_received(_usage([_sample(began, HISTORY_S + round(now_s))]), now_s)
        if panel.due_in_s(now_s) == 0:
            updates.append((1000 * now_s, panel.take_update(now_s)["state"]["now"]))
    return state, updates


def _view() -> KernelView:
    gpus = GrantedGpus(model="H100", count=1, simulated=True, uuids=["SIM-1"], agent_id="a", agent_name="gpu-box")
    lease = LeaseView(id="lease", price_microdollars_per_second=1_097, count=1)
    return KernelView(
        id="k",
        name="k",
        state=KernelState.ATTACHED,
        gpu_spec="H100",
        incarnation="i",
        gpus=gpus,
        lease=lease,
        busy=True,
    )


def _usage(samples: Sequence[UsageAt]) -> KernelUsage:
    host = HostSample(cpu_percent=40, cores=64, memory_used_bytes=100 << 30, memory_total_bytes=512 << 30)
    return KernelUsage(kernel_id="k", live=True, host=host, samples=list(samples))


def _sample(began: datetime, second: int) -> UsageAt:
    wave = sin(second / 5)
    gpu = GpuUsage(
        uuid="SIM-1",
        simulated=True,
        utilization_percent=70 + 25 * wave,
        memory_used_bytes=int((40 + 10 * wave) * 2**30),
        memory_total_bytes=80 << 30,
        power_milliwatts=int(500_000 + 150_000 * wave),
        power_limit_milliwatts=700_000,
        temperature_celsius=int(60 + 10 * wave),
        own_memory_bytes=int((38 + 10 * wave) * 2**30),
    )
    at = (began + timedelta(seconds=second)).isoformat(timespec="milliseconds")
    return UsageAt(at=at, processes=3, cpu_percent=100 + 20 * wave, memory_bytes=8 << 30, gpus=[gpu])
