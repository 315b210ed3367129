"""Three nodes teach one subject together: rounds on a shared trunk, over the local network.

Each node has corrections of its own, which never leave it. In every round each trains a few
steps onto the trunk that all have; the parts together become the next trunk.

Run: python examples/one_subject.py           (two minutes)
     python examples/one_subject.py --quick   (seconds: two nodes, few turns)
"""

import argparse
import tempfile
from contextlib import ExitStack
from itertools import permutations
from pathlib import Path

import hivelearn as hl
from hivelearn.demo import tasks

SUBJECT = tasks.ROMAN


def main() -> None:
    """Teach, play some rounds, ask."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    count, turns, each = (2, 4, 60) if quick else (3, 20, 120)
    lessons = tasks.corrections(SUBJECT, seed=0, n=count * each)

    with tempfile.TemporaryDirectory() as scratch, ExitStack() as closing:
        nodes = [
            closing.enter_context(hl.Node(home=Path(scratch) / f"node-{n}", progress=False))
            for n in range(count)
        ]
        for n, node in enumerate(nodes):
            for lesson in lessons[n * each : (n + 1) * each]:
                node.correct(lesson.prompt, lesson.answer, domain=SUBJECT.name)
        for node, other in permutations(nodes, 2):
            node.vouch(other.key)

        swarms, addresses = [], []
        for node in nodes:
            swarm = node.join(SUBJECT.name, listen="127.0.0.1:0", peers=addresses, discover=False)
            swarms.append(closing.enter_context(swarm))
            addresses.append(swarm.address)

        for _ in range(turns):  # `node.live("roman")` does this by itself
            for node in nodes:  # whoever finds all parts here makes the next trunk
                print(node.grow(SUBJECT.name))
                for swarm in swarms:
                    swarm.sync(3.0)

        question = tasks.questions(SUBJECT, seed=0, n=1)[0]
        print(question.prompt, "→", nodes[0].ask(question.prompt, SUBJECT.name).text)


if __name__ == "__main__":
    main()
