"""The GPU kernel for front-ends: the whole notebook runs remotely.

``python -m perijove.kernel`` is what a kernelspec of ours starts. It binds the five ZeroMQ sockets of a Jupyter kernel
(:mod:`.sockets`, :mod:`.output`), gives what arrives to the front (:mod:`perijove.wire.front`), and carries out what
the front says (:mod:`.bridge`) on the link to the kernel at the broker (:mod:`.remote`). When it ends is in
:mod:`.life`, what a restart leaves behind in :mod:`.hand_over`. Kernelspecs are written by :mod:`.kernelspecs`.
"""
