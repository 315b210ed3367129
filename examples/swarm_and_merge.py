"""Two nodes teach each other: vouch, publish, sync, merge.

Here both live in one script and speak over loopback. On two machines each runs
its own half: leave out ``listen`` and ``discover`` and they find each other on
the local network, or give ``peers=["hl1…@192.168.1.5:4747"]``.

Run: python examples/swarm_and_merge.py                   (minutes)
     python examples/swarm_and_merge.py --quick           (seconds; little is learnt)
     python examples/swarm_and_merge.py --fabric memory   (without sockets)
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import hivelearn as hl
from hivelearn.demo import tasks

SUBJECTS = (tasks.ROMAN, tasks.CLOCK12)
NAMES = [subject.name for subject in SUBJECTS]


def taught(home: Path, subject: tasks.Domain, *, quick: bool) -> hl.Node:
    """Return a node whose expert has corrected one subject."""
    recipe = hl.Recipe(steps=3, batch=8) if quick else hl.Recipe(steps=300)
    node = hl.Node(home=home, recipe=recipe)
    for lesson in tasks.corrections(subject, seed=0, n=80 if quick else 400):
        node.correct(lesson.prompt, lesson.answer, domain=subject.name)
    return node


def main() -> None:
    """Train apart, exchange, judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fabric", choices=("lan", "memory"), default="lan")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    place: dict[str, Any] = {"fabric": options.fabric}
    if options.fabric == "lan":
        place |= {"listen": "127.0.0.1:0", "discover": False}

    with tempfile.TemporaryDirectory() as homes:
        here, there = (
            taught(Path(homes) / subject.name, subject, quick=options.quick) for subject in SUBJECTS
        )
        patches = [here.train(NAMES[0]), there.train(NAMES[1])]
        here.vouch(there.key, note="met in person")  # trust begins with people one knows
        there.vouch(here.key, note="met in person")

        with here.join(*NAMES, **place) as first:  # both hear of both subjects
            met = [first.address] if options.fabric == "lan" else []
            with there.join(*NAMES, peers=met, **place) as second:
                for swarm, patch in zip((first, second), patches, strict=True):
                    assert patch is not None
                    swarm.publish(patch)  # the patch travels; corrections never do
                print(first.sync(wait_s=30))
                print(second.sync(wait_s=30))

        print(here.merge(NAMES[1]))  # judged here, by own evidence; adopted only if better
        print(there.merge(NAMES[0]))
        for subject in SUBJECTS:
            question = tasks.questions(subject, seed=0, n=1)[0]
            for node in (here, there):
                answer = node.ask(question.prompt, max_new_tokens=24)
                print(f"{node.name}: {question.prompt} {answer.text!r} by the {answer.route}")
        here.close()
        there.close()


if __name__ == "__main__":
    main()
