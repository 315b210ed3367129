"""A node that trains in a process of its own, a step a line, until it is killed or done."""

import sys
import time
from pathlib import Path

import torch

from hivelearn.device.reading import Reading, known
from hivelearn.node.context import Environment
from hivelearn.node.node import Node
from hivelearn.training.recipe import Recipe

NOW_S = 1_700_000_000.0


def main(folder: str, home: str) -> None:
    """Train "yes" slowly, saving after every step."""
    torch.set_num_threads(1)
    ticks = iter(range(0, 10**9, 11))

    def read() -> Reading:
        sys.stdout.write("step\n")
        sys.stdout.flush()
        time.sleep(0.2)
        return Reading(cpu_c=known(50.0), has_battery=known(False), on_mains=known(True))

    environment = Environment(
        clock=lambda: NOW_S, monotonic=lambda: float(next(ticks)), sleep=time.sleep, read=read
    )
    recipe = Recipe(rank=2, alpha=4.0, steps=40, batch=8, pass_tokens=512, rehearsal=0.0, rate=0.03)
    node = Node(
        folder,
        home=Path(home),
        environment=environment,
        device="cpu",
        checkpoint_s=0.0,
        progress=False,
    )
    node.train("yes", recipe)


if __name__ == "__main__":
    main(*sys.argv[1:])
