"""What an agent tells the kernel processes it starts, as names of environment variables; both sides read them here."""

AGENT_PID = "PERIJOVE_AGENT_PID"  # the kernel ends with that process
MARK = "PERIJOVE_MARK"  # <agent's mark>:<incarnation>; every process of a kernel inherits it, so that none is missed
FLOW_FILE = "PERIJOVE_FLOW_FILE"
BLOB_DIR = "PERIJOVE_BLOB_DIR"
START_NICE = "PERIJOVE_START_NICE"  # start at this low priority; the agent raises it again
