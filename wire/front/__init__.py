"""A kernel as its front-ends see it, while its process comes and goes: pure, and the same for every door.

A *front* stands between Jupyter front-ends and a process that is there only while a GPU is attached. It passes on what
is for the process, answers what a released kernel answers, holds cells while a GPU is being attached, and says of a
process that ended what no process can say of itself. ``kernel/`` puts it behind ZeroMQ sockets, the broker behind
WebSockets; both carry out its instructions over the same link to the process.
"""
