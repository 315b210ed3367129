"""A node that learns at night: joins, fetches, judges and trains while nobody needs the machine.

It works when nobody has touched the machine for five minutes, on mains power,
cool enough, and within the hours. What is left to do in the morning goes on the
next night, from the step where it stopped.

Run: python examples/overnight.py --home ~/hive --hours 22:00-06:00   (until Ctrl-C)
     python examples/overnight.py --quick                             (seconds, at any hour)
"""

import argparse
import queue
import tempfile
from dataclasses import replace
from typing import Any

import hivelearn as hl
from hivelearn.demo import tasks
from hivelearn.node import events

QUICK_S = 60.0


def main() -> None:
    """Work until Ctrl-C, and say what happens."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", help="where the node lives; else it is thrown away")
    parser.add_argument("--hours", default="22:00-06:00")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    settings: dict[str, Any] = {}
    joining: dict[str, Any] = {}
    if options.quick:
        settings["recipe"] = hl.Recipe(steps=3, batch=8)
        settings["comfort"] = replace(hl.NodeConfig().comfort, idle_min_s=0)
        joining = {"listen": "127.0.0.1:0", "discover": False}  # alone, on loopback

    with (
        tempfile.TemporaryDirectory() as thrown_away,
        hl.Node(home=options.home or thrown_away, **settings) as node,
    ):
        for lesson in tasks.corrections(tasks.ROMAN, seed=0, n=80):
            node.correct(lesson.prompt, lesson.answer, domain="roman")
        hours = None if options.quick else options.hours
        wait_s = QUICK_S if options.quick else None
        happened: queue.Queue[events.Event] = queue.Queue()
        try:
            with node.events.subscribe(happened.put), node.live(hours=hours, **joining):
                trained = False
                while not (options.quick and trained):
                    event = happened.get(timeout=wait_s)
                    trained = isinstance(event, events.TrainingEnded)
                    tell(event)
        except KeyboardInterrupt:
            print("good morning")
        print(node.status())


def tell(event: events.Event) -> None:
    """Print what is worth reading in the morning."""
    match event:
        case events.PermitChanged(permit):
            print(permit.why, flush=True)
        case events.TrainingEnded(report) | events.MergeEnded(report):
            print(report, flush=True)
        case events.RunFailed(what):
            print(what, flush=True)
        case _:
            pass


if __name__ == "__main__":
    main()
