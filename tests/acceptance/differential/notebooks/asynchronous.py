"""Top-level await and what comes with it."""

from __future__ import annotations

from ..notebook import gpu, local, notebook

NOTEBOOKS = (
    notebook(
        "await-at-top-level",
        gpu("import asyncio\nawait asyncio.sleep(0)\nx = await asyncio.sleep(0, result=5)\nx"),
        local("x"),
        gpu("await asyncio.gather(*(asyncio.sleep(0, n) for n in range(3)))"),
        gpu("async with asyncio.timeout(5):\n    print('inside')"),
        gpu(
            """
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(asyncio.sleep(0, n)) for n in "ab"]
            values = [task.result() for task in tasks]
            del group, tasks
            """
        ),
        local("values"),
    ),
    notebook(
        "await-async-generators",
        gpu("async def count(n):\n    for i in range(n):\n        yield i\n[i async for i in count(3)]"),
        local("[i async for i in count(2)]"),
        gpu("async for i in count(2):\n    print(i)"),
        local("async def double(n):\n    return 2 * n"),
        gpu("await double(4)"),
        gpu("y = await double(i)"),
        local("y"),
    ),
    notebook(
        "await-errors",
        gpu(
            "import asyncio\nasync def fail():\n    await asyncio.sleep(0)\n    raise ValueError('async')\nawait fail()"
        ),
        gpu("await asyncio.wait_for(asyncio.Event().wait(), 0.01)"),
        gpu("await 5"),
        gpu("async with asyncio.TaskGroup() as group:\n    group.create_task(fail())"),
        gpu("'group' in globals() and globals().pop('group') and None"),
        gpu("raise asyncio.CancelledError('own')"),
        gpu("asyncio.run(fail())"),
    ),
    notebook(
        "await-coroutine-not-awaited",
        gpu("import asyncio\nasync def work():\n    return 3\npending = work()", "--keep pending"),
        gpu("await pending", "--keep pending"),
        gpu("del pending"),
    ),
    notebook(
        "await-background-task",
        gpu(
            """
            import asyncio
            async def background():
                await asyncio.sleep(0)
                print("from the task")
                return "done"
            task = asyncio.create_task(background())
        """,
            "--keep task",
        ),
        gpu("print(await task)", "--keep task"),
        gpu("del task"),
    ),
)
