"""The differences that documents announce, each with the sentence that stands in ``docs/differences.md``."""

from __future__ import annotations

REASONS: dict[str, str] = {
    "earlier results": (
        "`Out[n]`, `_n` and underscore names keep the object they had: what a later `%%gpu` cell changes in place "
        "is changed in the variables, and comes back to them as a new object. In a `%%gpu` cell each of them is a "
        "copy."
    ),
    "identity of immutables": (
        "Immutable values (numbers, strings, tuples of them) may come back as equal copies: whether `a is b` holds "
        "for two of them can differ."
    ),
    "views": (
        "numpy views arrive as copies: an array and a view of it share memory on the side where the view was made, "
        "and no longer once they have travelled."
    ),
    "gradients": "Tensors travel without their autograd graph and `.grad`.",
    "annotations": "`__annotations__` of the notebook itself is each side's own.",
    "stays remote": (
        "What cannot be copied (threads, locks, open files, streams, generators, coroutines, tasks, widgets, "
        "figures) and values over 1 MiB stay in the remote kernel; the notebook has a `RemoteValue` for each."
    ),
    "module stays": (
        "A module that a `%%gpu` cell imports and the notebook itself has not imported is a `RemoteValue` at home: "
        "import it in a local cell too if you use it there."
    ),
    "underscore names": (
        "Names that begin with an underscore are each side's own: `_`, `_n` and `Out[n]` are the notebook's, and "
        "what a `%%gpu` cell assigns to `_tmp`, `_` or `_exit_code` stays where it ran."
    ),
    "listing": (
        "What lists the namespace (`%who`, `%whos`, `dir()`, `globals()` as a whole) shows, in a `%%gpu` cell, "
        "what is over there."
    ),
    "histories": (
        "`In`, `_i`, `%history` and `%recall` in a `%%gpu` cell know the cells that ran over there; `%reset` there "
        "deletes variables and leaves the notebook's histories."
    ),
    "exit": "`exit()` and `quit()` in a `%%gpu` cell end the remote kernel and leave the notebook's own running.",
    "empty cell": "A `%%gpu` line with nothing below it is an error of IPython's, as with any cell magic.",
    "input frames": "The traceback of an `input()` that fails shows a frame of Perijove's in the remote kernel.",
    "several results": (
        "Where one cell shows several results (`ast_node_interactivity`), only the last one's value comes to "
        "`Out`; `__` holds what was shown of the one before."
    ),
}
