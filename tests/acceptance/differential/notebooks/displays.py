"""Rich output: mime bundles, updates, clearing, capturing, plots."""

from __future__ import annotations

from ..notebook import Differs, gpu, local, notebook, stays

_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

NOTEBOOKS = (
    notebook(
        "display-mime-types",
        gpu("""
            from IPython.display import HTML, JSON, SVG, Latex, Markdown, Math, Javascript, display
            display(HTML("<b>bold</b>"), Latex("$x^2$"), Markdown("*text*"), Math("x"), JSON({"a": [1, {"b": None}]}))
            display(SVG("<svg xmlns='http://www.w3.org/2000/svg' width='1' height='1'/>"), Javascript("1"))
            display({"text/plain": "raw", "application/x-own": {"k": 1}}, raw=True, metadata={"text/plain": {"m": 1}})
            display("text", 5, None, [1])
            display(1.5, metadata={"own": True})
        """),
        gpu("HTML('<i>result</i>')"),
    ),
    notebook(
        "display-images",
        gpu(f"""
            import base64
            from IPython.display import Image, display
            pixel = base64.b64decode("{_PNG}")
            display(Image(data=pixel, width=10, alt="a pixel"))
        """),
        gpu("Image(data=pixel, format='png')"),
        local("len(pixel)"),
        local("Image(data=pixel)"),
    ),
    notebook(
        "display-own-classes",
        gpu("""
            class Rich:
                def _repr_html_(self):
                    return "<p>html</p>"
                def _repr_png_(self):
                    return None
                def _repr_latex_(self):
                    return "$y$", {"isolated": True}
                def __repr__(self):
                    return "Rich()"
            rich = Rich()
            rich
        """),
        local("rich"),
        gpu("""
            class Bundle:
                def _repr_mimebundle_(self, include=None, exclude=None):
                    return {"text/plain": "p", "text/html": "h"}, {"text/html": {"k": "v"}}
            class Own:
                def _ipython_display_(self):
                    print("displays itself")
            display(Bundle(), Own())
            Own()
        """),
        local("Bundle()"),
        gpu("""
            class Broken:
                def _repr_html_(self):
                    raise RuntimeError("no html")
            Broken()
        """),
    ),
    notebook(
        "display-ids-and-updates",
        gpu("""
            from IPython.display import HTML, display, update_display
            handle = display("first", display_id="mine")
            handle.update("second")
        """),
        gpu("update_display(HTML('<b>third</b>'), display_id='mine')"),
        local("update_display('fourth, from the other side', display_id='mine')"),
        gpu("other = display('anonymous', display_id=True)\nother.update('changed')\nhandle.display('again')"),
        local("other.update('from the other side')\ntype(handle).__name__, handle.display_id"),
        gpu("display('no id'); handle"),
    ),
    notebook(
        "display-clear-output",
        gpu("""
            from IPython.display import clear_output, display
            for n in range(3):
                clear_output(wait=True)
                print("step", n)
                display(n)
            clear_output()
            print("left")
        """),
        gpu("print('a')\nclear_output(wait=True)"),
    ),
    notebook(
        "display-capture-inside",
        gpu("""
            %%capture caught
            import sys
            from IPython.display import HTML, display
            print("out")
            print("err", file=sys.stderr)
            display(HTML("<b>x</b>"))
            17
        """),
        local("caught.stdout, caught.stderr, [output.data for output in caught.outputs]"),
        gpu("caught.show()"),
        gpu("%%capture --no-stderr only_out\nprint('o')\nprint('e', file=sys.stderr)"),
        gpu("only_out.stdout"),
        gpu("""
            from IPython.utils.capture import capture_output
            with capture_output() as inner:
                print("quiet")
                display(1)
            print(repr(inner.stdout), len(inner.outputs))
        """),
    ),
    notebook(
        "display-formatters",
        gpu("%precision 3"),
        gpu("3.14159265"),
        gpu(
            """
            class Point:
                def __init__(self, x):
                    self.x = x
            html = get_ipython().display_formatter.formatters["text/html"]
            html.for_type(Point, lambda point: f"<p>{point.x}</p>")
            Point(1)
        """,
            "--keep html",
        ),
        gpu("del html"),
        gpu("%precision"),
    ),
    notebook(
        "display-pretty-printing",
        gpu("list(range(300))"),
        gpu("list(range(2000))"),
        gpu("{'key ' * 5 + str(n): {'nested': [n] * 10} for n in range(5)}"),
        gpu("'a long string ' * 30"),
        gpu("{3, 1, 2}, frozenset([1]), range(3), slice(1, 2), b'bytes', 1j, ..., NotImplemented, print, len, int"),
        gpu("%pprint"),
        gpu("list(range(40))"),
        gpu("%pprint"),
    ),
    notebook(
        "plots-inline",
        gpu("""
            %matplotlib inline
            import matplotlib.pyplot as plt
            plt.rcParams["figure.figsize"] = (1, 1)
            plt.plot([1, 2, 3])
        """),
        gpu("plt.plot([3, 2, 1]); plt.title('shown')\nplt.show()\nprint('after')"),
        gpu("for n in range(2):\n    plt.figure()\n    plt.plot([n, n + 1])"),
        gpu("fig, axes = plt.subplots()\naxes.bar([1], [2])\nplt.close(fig)\nfig"),
        gpu("fig"),
        gpu("del fig, axes"),
        gpu("_ = plt.hist([1, 2, 2, 3])"),
        leaves_traces=True,
        differs=(
            *stays("module stays", plt="module"),
            *stays(_1="list", _4="matplotlib.Figure"),
            Differs("/after/last/_", "", "", "underscore names"),
        ),
    ),
    notebook(
        "plots-formats",
        gpu("%config InlineBackend.figure_formats = ['svg']"),
        gpu("import matplotlib.pyplot as plt\nplt.rcParams['svg.hashsalt'] = 'same'"),
        gpu("plt.figure(figsize=(1, 1), metadata=None) if 0 else plt.figure(figsize=(1, 1));"),
        gpu("%config InlineBackend.figure_formats = ['png']"),
        gpu("%config InlineBackend.print_figure_kwargs = {'bbox_inches': None}"),
        gpu("plt.figure(figsize=(1, 1)).add_subplot().plot([1, 2]);"),
        gpu("%matplotlib --list"),
        leaves_traces=True,
        differs=stays("module stays", plt="module"),
    ),
    notebook(
        "plots-figure-from-a-function-of-another-cell",
        local("""
            import matplotlib.pyplot as plt
            def draw(values):
                figure, axes = plt.subplots(figsize=(1, 1))
                axes.plot(values)
                return figure
        """),
        gpu("plt.close(draw([1, 2]))"),
        gpu("draw([2, 1]);"),
        leaves_traces=True,
    ),
)
