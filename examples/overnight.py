"""A node that learns at night: joins, fetches, judges and trains while nobody needs the machine.

It works when nobody has touched the machine for five minutes, on mains power,
cool enough, and within the hours. What is left to do in the morning goes on the
next night, from the step where it stopped.

Run: python examples/overnight.py --home ~/hive --hours 22:00-06:00   (until Ctrl-C)
     python examples/overnight.py --quick                             (seconds, at any hour)
"""

import argparse
import tempfile
import time
from dataclasses import replace
from typing import Any

import hivelearn as hl
from hivelearn.demo import tasks

LOOK_S = 0.5
QUICK_S = 60.0


def main() -> None:
    """Live for a night, and say what happened."""
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
        end_s = time.monotonic() + QUICK_S
        said = None
        try:
            with node.live(hours=hours, **joining) as night:
                while not (options.quick and (night.trained or time.monotonic() > end_s)):
                    if night.permit != said:
                        said = night.permit
                        print(said.why if said else "not measured yet", flush=True)
                    time.sleep(LOOK_S)
        except KeyboardInterrupt:
            print("good morning")
        for report in (*night.trained, *night.merged):
            print(report)
        print(*night.errors, node.status(), sep="\n")


if __name__ == "__main__":
    main()
