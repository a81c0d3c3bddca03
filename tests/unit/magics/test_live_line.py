"""The line that shows while something takes long."""

from concurrent.futures import Future

from perijove.widgets.live_line import Progress, TransferMeter, format_bytes


class Publisher:
    def __init__(self):
        self.published = []
        self.cleared = 0

    def publish(self, **message):
        self.published.append((message["data"]["text/plain"], message["update"]))

    def clear_output(self, wait=False):
        self.cleared += 1


class NotebookShell:
    kernel = object()

    def __init__(self):
        self.display_pub = Publisher()


def test_what_is_done_at_once_shows_nothing():
    shell, future = NotebookShell(), Future()
    future.set_result(7)
    assert Progress(shell, lambda: True).wait(future, lambda: "waiting") == 7
    assert shell.display_pub.published == []


def test_a_wait_shows_where_it_stands_and_then_disappears(monkeypatch):
    monkeypatch.setattr("perijove.widgets.live_line.SHOW_AFTER_S", 0.0)
    monkeypatch.setattr("perijove.widgets.live_line.UPDATE_EVERY_S", 0.0)
    shell, future, places = NotebookShell(), Future(), iter(["2nd in line", "2nd in line", "1st in line"])

    def describe():
        text = next(places, None)
        if text is None:
            future.set_result("attached")
        return text or "1st in line"

    assert Progress(shell, lambda: True).wait(future, describe) == "attached"
    assert shell.display_pub.published == [("2nd in line", False), ("1st in line", True)]
    assert shell.display_pub.cleared == 1


def test_a_transfer_says_rate_and_time_left():
    now = [0.0]
    meter = TransferMeter("to H100", 4_000_000, clock=lambda: now[0])
    now[0] = 2.0
    meter(1_000_000)
    assert meter.describe() == "to H100 ██████░░░░░░░░░░░░░░░░░░ 1.0 MB of 4.0 MB, 500 kB/s, 6 s left"
    meter(3_000_000)
    assert meter.last_words() == "to H100: 4.0 MB in 2.0 s (2.0 MB/s)"


def test_sizes():
    assert [format_bytes(n) for n in (0, 999, 1500, 15_000, 2.5e9, 4e13)] == [
        "0 B", "999 B", "1.5 kB", "15 kB", "2.5 GB", "40.0 TB",
    ]  # fmt: skip
