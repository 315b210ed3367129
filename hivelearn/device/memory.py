"""How much memory this process has and how much is free, as numbers at one moment."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of the machine's main memory."""

    free: int  # that a program can have without making others swap
    used: int  # by this process


def read_memory() -> Memory:
    """Return how it stands now."""
    import psutil

    return Memory(psutil.virtual_memory().available, psutil.Process().memory_info().rss)
