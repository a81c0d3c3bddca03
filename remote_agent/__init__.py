"""The agent: the process on a GPU machine that runs kernels and reports GPUs."""
