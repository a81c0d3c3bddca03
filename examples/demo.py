"""``make demo``: run first_cell.ipynb for real, show each cell's output as it comes, then the bill.

The broker and the agent are the embedded ones, with a data directory of their own, and are taken down at the end. Where
no NVIDIA GPU is found, a *simulated* H100 is asked for; everything that names the GPU then says so.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from rich.console import Console
from rich.syntax import Syntax

HERE = Path(__file__).resolve().parent
OUTPUT = HERE.parent / ".demo"
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


class PrintingClient(NotebookClient):
    """Executes a notebook and prints what it prints, when it prints it."""

    def output(self, outs, msg, display_id, cell_index):
        content = msg["content"]
        match msg["msg_type"]:
            case "stream":
                sys.stdout.write(content["text"] if sys.stdout.isatty() else last_states(content["text"]))
                sys.stdout.flush()
            case "display_data" | "execute_result":
                show_rich(content)
        return super().output(outs, msg, display_id, cell_index)


def last_states(text: str) -> str:
    """For a file: of a progress bar's states, one over the other on a screen, only the last."""
    lines = text.split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines)


def show_rich(content: dict) -> None:
    """One line for a picture, the text of anything else; the status line is set apart."""
    data = content["data"]
    if content.get("metadata", {}).get("perijove", {}).get("role") == "status":
        console.print(f"  {data['text/plain']}", style="dim", markup=False)
    elif "image/png" in data:
        console.print("  [a plot: see it in the HTML copy]", style="italic", markup=False)
    else:
        console.print(data.get("text/plain", ""), markup=False)


def gpu_models() -> list[str]:
    """The models of this machine's NVIDIA GPUs, as GPU specs name them."""
    try:
        from perijove.remote_agent.gpus.nvidia import Nvidia

        with contextlib.closing(Nvidia()) as driver:
            return [gpu.model for gpu in driver.gpus()]
    except Exception:  # noqa: BLE001 - no driver, no library, no device: all mean that there is no GPU to use
        return []


def choose_gpu(notebook: nbformat.NotebookNode) -> None:
    """H100 as written if there is one, else whatever GPU there is, else a simulated H100."""
    models = gpu_models()
    if not models:
        os.environ["PERIJOVE_SIMULATE"] = "H100:1"
        console.print("No NVIDIA GPU here, so this demo asks for a simulated H100 (it computes on the CPU).\n")
    elif "H100" not in models:
        for cell in notebook.cells:
            cell.source = cell.source.replace("%%gpu H100", f"%%gpu {models[0]}")
        console.print(f"This machine has a {models[0]}, so the demo uses that.\n")


def main() -> int:
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir()
    os.environ["PERIJOVE_DATA"] = str(OUTPUT / "data")
    for name in ("PERIJOVE_URL", "PERIJOVE_TOKEN", "PERIJOVE_STATUS"):
        os.environ.pop(name, None)
    notebook = nbformat.read(HERE / "first_cell.ipynb", as_version=4)
    choose_gpu(notebook)
    client = PrintingClient(notebook, timeout=600, resources={"metadata": {"path": str(OUTPUT)}})
    try:
        with client.setup_kernel():
            for index, cell in enumerate(notebook.cells):
                if cell.cell_type == "code":
                    console.print(
                        Syntax(shortened(cell.source), "python", theme="ansi_dark", background_color="default")
                    )
                    client.execute_cell(cell, index)
                    console.print()
        console.rule("the bill, as `perijove bill` prints it")
        subprocess.run([sys.executable, "-m", "perijove.cli", "bill"], check=True)
    finally:
        nbformat.write(notebook, OUTPUT / "first_cell.ipynb")
        subprocess.run([sys.executable, "-m", "perijove.cli", "down"], check=False, stdout=subprocess.DEVNULL)
    page, _ = HTMLExporter().from_notebook_node(notebook)
    (OUTPUT / "first_cell.html").write_text(page, encoding="utf-8")
    relative = OUTPUT.relative_to(Path.cwd()) if OUTPUT.is_relative_to(Path.cwd()) else OUTPUT
    console.print(
        f"\nThe executed notebook is in {relative}/first_cell.ipynb, with its plot in {relative}/first_cell.html."
    )
    return 0


def shortened(source: str, lines: int = 14) -> str:
    """A long cell's beginning: the demo shows what happens, the notebook has the rest."""
    parts = source.splitlines()
    return source if len(parts) <= lines else "\n".join([*parts[:lines], f"# … {len(parts) - lines} more lines"])


if __name__ == "__main__":
    sys.exit(main())
