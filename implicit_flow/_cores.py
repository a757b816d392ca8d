"""How many cores this process may use."""

import os


def cores() -> int:
    """Cores that this process may use, which a cluster's scheduler may have limited.

    Returns:
        How many; at least 1.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
