"""Widgets made in ``%%gpu`` cells: the remote kernel owns them, the page shows them, and both are told of changes."""

from __future__ import annotations

import pytest

from .conftest import NewNotebook

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.xdist_group("jupyterlab")]

LOAD = "%load_ext perijove"
SLIDER = """%%gpu H100
import ipywidgets as widgets
from IPython.display import display
slider, log = widgets.IntSlider(value=3, max=10), widgets.Output()
def moved(change):
    with log:
        print("moved to", change["new"])
slider.observe(moved, "value")
display(slider, log)
"""
INTERACT = """%%gpu H100
from ipywidgets import interact
@interact(n=(0, 9))
def square(n=2):
    print(f"{n} squared is {n * n}")
"""
LOOP = """%%gpu H100
import time
deadline = time.monotonic() + 20
while slider.value != 9 and time.monotonic() < deadline:
    print("waiting", flush=True)
    time.sleep(0.1)
print("saw", slider.value)
"""
AWAITS = """%%gpu H100
import asyncio
def next_value():
    future = asyncio.get_running_loop().create_future()
    slider.observe(lambda change: future.done() or future.set_result(change["new"]), "value")
    return future
print("waiting", flush=True)
print("saw", await next_value())
"""
ANYWIDGET = """%%gpu H100
import anywidget, traitlets
class Doubler(anywidget.AnyWidget):
    _esm = '''
    function render({ model, el }) {
      const button = document.createElement("button");
      button.className = "doubler";
      const show = () => { button.textContent = [...new Uint8Array(model.get("data").buffer)].join(" "); };
      button.onclick = () => {
        const bytes = new Uint8Array(model.get("data").buffer);
        model.set("data", new DataView(bytes.map(byte => byte * 2).buffer));
        model.save_changes();
        model.send({ what: "clicked" }, undefined, [bytes.buffer]);
      };
      model.on("change:data", show);
      model.on("msg:custom", (message, buffers) => {
        const bytes = new Uint8Array(buffers[0].buffer, buffers[0].byteOffset, buffers[0].byteLength);
        button.title = message.what + " " + [...bytes].join(" ");
      });
      show();
      el.append(button);
    }
    export default { render };
    '''
    data = traitlets.CBytes(b"\\x01\\x02\\x03").tag(sync=True)
doubler = Doubler()
heard = []
def on_message(widget, content, buffers):
    heard.append((content["what"], bytes(buffers[0])))
    widget.send({"what": "answered"}, [bytes(reversed(bytes(buffers[0])))])
doubler.on_msg(on_message)
doubler
"""


async def test_a_slider_calls_back_into_the_remote_kernel(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("slider", [LOAD, SLIDER, "%%gpu\nslider.value"])
    await notebook.run(0, 1)
    handle = (await notebook.locate(1)).get_by_role("slider")
    await handle.press("ArrowRight")
    await notebook.wait_for_text(1, "moved to 4")
    await handle.press("ArrowRight")
    await notebook.wait_for_text(1, "moved to 5")
    await notebook.run(2)
    assert await notebook.text(2) == "5"


async def test_interact(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("interact", [LOAD, INTERACT])
    await notebook.run(0, 1)
    await notebook.wait_for_text(1, "2 squared is 4")
    await (await notebook.locate(1)).get_by_role("slider").press("ArrowRight")
    await notebook.wait_for_text(1, "3 squared is 9")


async def test_a_running_cell_sees_the_slider_move(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("running", [LOAD, SLIDER, LOOP])
    await notebook.run(0, 1)
    handle = (await notebook.locate(1)).get_by_role("slider")
    running = notebook.start(2)
    await notebook.wait_for_text(2, "waiting")
    await handle.press("End")
    await handle.press("ArrowLeft")
    await running
    assert "saw 9" in await notebook.text(2)
    await notebook.wait_for_text(1, "moved to 9")


async def test_an_awaiting_cell_is_woken_by_the_slider(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("awaiting", [LOAD, SLIDER, AWAITS])
    await notebook.run(0, 1)
    handle = (await notebook.locate(1)).get_by_role("slider")
    running = notebook.start(2)
    await notebook.wait_for_text(2, "waiting")
    await handle.press("ArrowRight")
    await running
    assert "saw 4" in await notebook.text(2)
    await handle.press("ArrowRight")
    await notebook.wait_for_text(1, "moved to 5")


async def test_binary_buffers_travel_both_ways(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("anywidget", [LOAD, ANYWIDGET, "%%gpu\n(doubler.data, heard)"])
    await notebook.run(0, 1)
    button = (await notebook.locate(1)).locator("button.doubler")
    await button.filter(has_text="1 2 3").click()
    await button.filter(has_text="2 4 6").wait_for()
    await (await notebook.locate(1)).get_by_title("answered 3 2 1").wait_for()
    await notebook.run(2)
    assert await notebook.text(2) == r"(b'\x02\x04\x06', [('clicked', b'\x01\x02\x03')])"


async def test_widgets_survive_a_reload(new_notebook: NewNotebook) -> None:
    notebook = await new_notebook("reload", [LOAD, SLIDER, "%%gpu\nslider.value"])
    await notebook.run(0, 1)
    await (await notebook.locate(1)).get_by_role("slider").press("ArrowRight")
    await notebook.wait_for_text(1, "moved to 4")
    await notebook.save()
    await notebook.lab.reload()
    await notebook.lab.open(notebook.path)
    handle = (await notebook.locate(1)).get_by_role("slider")
    await notebook.wait_for_text(1, "moved to 4")
    await handle.press("ArrowRight")
    await notebook.wait_for_text(1, "moved to 5")
    await notebook.run(2)
    assert await notebook.text(2) == "5"
