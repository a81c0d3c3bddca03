"""``input()`` and ``getpass`` in ``%%gpu`` cells are answered in the page."""

from __future__ import annotations

import pytest

from .conftest import NewNotebook

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.xdist_group("jupyterlab")]

ASKS = """%%gpu H100
import getpass
name = input("Who? ")
secret = getpass.getpass("Password: ")
print(f"{name} has {len(secret)} letters")
"""


async def test_input_and_getpass(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("asking", ["%load_ext perijove", ASKS, "(name, secret)"])
    await notebook.run(0)
    running = notebook.start(1)
    answer = (await notebook.locate(1)).locator("input.jp-Stdin-input").last  # the first goes in a moment
    await notebook.wait_for_text(1, "Who?")
    await answer.fill("Ada")
    await answer.press("Enter")
    await notebook.wait_for_text(1, "Password:")
    assert await answer.get_attribute("type") == "password"
    await answer.fill("open sesame")
    await answer.press("Enter")
    await running
    assert "Ada has 11 letters" in await notebook.text(1)
    await notebook.run(2)
    assert await notebook.text(2) == "('Ada', 'open sesame')"


async def test_the_stop_button_ends_the_question(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("unanswered", ["%load_ext perijove", "%%gpu H100\ninput('Well? ')", "%%gpu\n1 + 1"])
    await notebook.run(0)
    running = notebook.start(1)
    await notebook.wait_for_text(1, "Well?")
    await notebook.interrupt()
    await running
    assert "KeyboardInterrupt" in await notebook.text(1)
    await notebook.run(2)
    assert await notebook.text(2) == "2"
