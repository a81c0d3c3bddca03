"""How a server's process is set up before it serves."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, gc, resource
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
from perijove.cli.event_loop import OPEN_FILES, run_server

async def serve():
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    print(soft == min(hard, OPEN_FILES), gc.get_freeze_count() > 1000)

run_server(serve())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_there_is_room_for_many_links_and_nothing_to_collect_of_what_was_imported() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["True", "True"]
