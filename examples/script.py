"""The smallest whole use: ask, correct, train, ask again.

An expert corrects what the embedded nano model says about Roman numerals; it
learns from that and is asked about numbers that nobody corrected.

Run: python examples/script.py              (about two minutes)
     python examples/script.py --steps 50   (sooner, and less learnt)
     python examples/script.py --quick      (seconds; shows the calls, learns nothing)
"""

import argparse
import tempfile

import hivelearn as hl
from hivelearn.demo import tasks


def main() -> None:
    """Ask, correct, train, ask again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--home", help="keep what is learnt here; else it is thrown away")
    options = parser.parse_args()
    lessons = tasks.corrections(tasks.ROMAN, seed=0, n=80 if options.quick else 400)
    unseen = tasks.questions(tasks.ROMAN, seed=0, n=10)
    recipe = hl.Recipe(steps=3, batch=8) if options.quick else hl.Recipe(steps=options.steps)

    with (
        tempfile.TemporaryDirectory() as thrown_away,
        hl.Node(home=options.home or thrown_away, recipe=recipe) as node,
    ):
        before = node.ask_many([question.prompt for question in unseen], max_new_tokens=24)

        answers = node.ask_many([lesson.prompt for lesson in lessons], max_new_tokens=24)
        for answer, lesson in zip(answers, lessons, strict=True):
            answer.correct(lesson.answer, domain="roman")  # stays on this device
        print(node.corrections)

        node.train("roman")  # obeys heat and battery; Ctrl-C loses nothing
        print(node.last_training)

        after = node.ask_many([question.prompt for question in unseen], max_new_tokens=24)
        for question, was, now in zip(unseen, before, after, strict=True):
            right = "right" if now.text == question.answer else f"expected {question.answer!r}"
            print(f"{question.prompt}  {was.text!r} → {now.text!r}, {right}")
        print(node.status())


if __name__ == "__main__":
    main()
