"""Your own model: the folder of any causal language model of transformers.

Everything the other examples do works with it: ``hl.Node(path)`` or
``hl.Node("Qwen/Qwen2.5-1.5B-Instruct")``. Without a path this builds a tiny
Llama of random weights, which proves the path and knows nothing.

Run: python examples/own_model.py PATH [--question TEXT --right TEXT --steps 20]
     python examples/own_model.py --quick
"""

import argparse
import tempfile
from pathlib import Path

import hivelearn as hl


def main() -> None:
    """Open a model, correct it, train a LoRA for it, and keep that as a PEFT folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", help="folder or hub id")
    parser.add_argument("--question", default="Which sound does a bee make?")
    parser.add_argument("--right", default="Bzz.")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        model = options.model or tiny_llama(Path(scratch) / "model")
        recipe = hl.Recipe(rank=8, steps=3 if options.quick else options.steps, batch=4)
        with hl.Node(model, home=Path(scratch) / "home", recipe=recipe) as node:
            print(repr(node))
            answer = node.ask(options.question, max_new_tokens=16)
            print(f"before: {answer.text!r}")
            for wording in (options.question, f"{options.question} Say it.", "And a bee?"):
                node.correct(wording, options.right, domain="sounds")
            patch = node.train("sounds")
            assert patch is not None
            print(node.last_training)
            print(f"after:  {node.ask(options.question, 'sounds', max_new_tokens=16).text!r}")
            folder = patch.save(Path(scratch) / "lora")  # PEFT loads it as its own
            print(sorted(file.name for file in folder.iterdir()))


def tiny_llama(folder: Path) -> Path:
    """Return a folder with a Llama of random weights."""
    from hivelearn.testing.models import small_model

    return small_model(folder)


if __name__ == "__main__":
    main()
