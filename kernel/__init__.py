"""The GPU kernel for front-ends: the whole notebook runs remotely. The magics come first; this part is not begun."""
