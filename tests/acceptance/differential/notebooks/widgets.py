"""ipywidgets, tqdm and anywidget: comms in both directions."""

from __future__ import annotations

from ..notebook import Say, gpu, local, notebook, stays

NOTEBOOKS = (
    notebook(
        "widgets-created-and-shown",
        gpu("import ipywidgets as widgets\nslider = widgets.IntSlider(value=3, max=9, description='n')\nslider"),
        gpu("slider.value = 5"),
        gpu("slider.value"),
        Say("IntSliderModel", {"method": "update", "state": {"value": 7}, "buffer_paths": []}),
        gpu("slider.value"),
        gpu("slider.close()"),
        gpu("del slider"),
        differs=stays(_1="ipywidgets.IntSlider"),
    ),
    notebook(
        "widgets-observed",
        gpu("""
            import ipywidgets as widgets
            box, seen = widgets.FloatText(value=1.5), []
            def changed(change):
                seen.append(change["new"])
                print("now", change["new"])
            box.observe(changed, "value")
            display(box)
        """),
        Say("FloatTextModel", {"method": "update", "state": {"value": 2.5}, "buffer_paths": []}),
        gpu("box.value = 4.0"),
        gpu("seen"),
        gpu("del box"),
    ),
    notebook(
        "widgets-button-and-output",
        gpu("""
            import ipywidgets as widgets
            button, output = widgets.Button(description="go"), widgets.Output()
            @output.capture()
            def clicked(button):
                print("clicked")
                display("shown")
            button.on_click(clicked)
            display(widgets.VBox([button, output]))
        """),
        Say("ButtonModel", {"method": "custom", "content": {"event": "click"}}),
        gpu("with output:\n    print('inside')\n    display(5)\nprint('outside')"),
        gpu("output.append_stdout('appended')\nlen(output.outputs)"),
        gpu("output.clear_output()"),
        gpu("with output:\n    1 / 0"),
        gpu("del button, output, clicked"),
    ),
    notebook(
        "widgets-interact",
        gpu("""
            from ipywidgets import interact
            def square(n=3):
                print(n * n)
                return n
            interact(square, n=(0, 10));
        """),
        Say("IntSliderModel", {"method": "update", "state": {"value": 4}, "buffer_paths": []}),
        Say("IntSliderModel", {"method": "update", "state": {"value": 5}, "buffer_paths": []}),
        differs=stays(square="function"),
    ),
    notebook(
        "widgets-linked-and-nested",
        gpu("""
            import ipywidgets as widgets
            left, right = widgets.IntText(1), widgets.IntText(2)
            link = widgets.link((left, "value"), (right, "value"))
            tabs = widgets.Tab([left, widgets.Accordion([right])], titles=["a", "b"])
            tabs
        """),
        gpu("left.value = 9\nright.value"),
        gpu("del left, right, link, tabs"),
        differs=stays(_1="ipywidgets.Tab"),
    ),
    notebook(
        "widgets-around-remote-output",
        local("import ipywidgets as widgets\nshelf = widgets.Output()\nshelf"),
        local("with shelf:\n    print('at home')"),
        local("shelf.outputs"),
    ),
    notebook(
        "widgets-binary-state",
        gpu("""
            import ipywidgets as widgets
            image = widgets.Image(value=bytes(range(256)), format="raw")
            image
        """),
        gpu("image.value = b'\\x00\\x01'"),
        gpu("del image"),
        differs=stays(_1="ipywidgets.Image"),
    ),
    notebook(
        "anywidget-with-buffers",
        gpu("""
            import anywidget, traitlets
            class Counter(anywidget.AnyWidget):
                _esm = "export default { render({ model, el }) {} }"
                data = traitlets.Bytes(b"\\x00\\xff").tag(sync=True)
                count = traitlets.Int(0).tag(sync=True)
            counter, heard = Counter(), []
            counter.on_msg(lambda _, content, buffers: heard.append((content, [bytes(b) for b in buffers])))
            counter
        """),
        gpu("counter.send({'kind': 'hello'}, [b'one', b'two'])\ncounter.data = bytes(300)"),
        Say("AnyModel", {"method": "custom", "content": {"kind": "reply"}}, (b"\x01\x02", b"")),
        Say("AnyModel", {"method": "update", "state": {"count": 4}, "buffer_paths": []}),
        gpu("heard, counter.count"),
        gpu("del counter, Counter"),
        differs=(*stays(_1="Counter"), *stays("module stays", anywidget="module")),
    ),
    notebook(
        "tqdm-text",
        gpu("""
            from tqdm import tqdm
            plain = "{l_bar}{bar}| {n_fmt}/{total_fmt}"
            for n in tqdm(range(3), mininterval=0, miniters=1, ncols=60, bar_format=plain):
                pass
        """),
        gpu(
            "with tqdm(total=2, desc='two', ncols=60, mininterval=0, bar_format=plain) as bar:\n"
            "    bar.update(2)\n    tqdm.write('said')"
        ),
        gpu("del bar"),
    ),
    notebook(
        "tqdm-notebook",
        gpu("""
            from tqdm.notebook import tqdm
            for n in tqdm(range(2), mininterval=0, miniters=1, bar_format="{l_bar}{bar}|{n_fmt}"):
                pass
        """),
    ),
    notebook(
        "comm-of-ones-own",
        gpu("""
            import comm
            channel, messages = comm.create_comm(target_name="own", data={"a": 1}, buffers=[b"abc"]), []
            channel.on_msg(lambda message: messages.append(message["content"]["data"]))
            channel.send({"b": 2}, buffers=[b"\\x00"])
            channel.close({"c": 3})
            del channel
        """),
    ),
)
