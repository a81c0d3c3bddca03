"""What runs inside the kernel process: binding to a GPU, bounded output, variables in and out."""
