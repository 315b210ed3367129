"""A training that goes on in another process: folder, checkpoint in, adapter out."""

import sys
from pathlib import Path

from hivelearn.inference.loading import load_model
from hivelearn.inference.resident import ResidentEngine
from hivelearn.training.recipe import Recipe
from hivelearn.training.session import TrainingSession


def main(folder: str, checkpoint: str, out: str) -> None:
    """Make the remaining steps."""
    engine = ResidentEngine(load_model(Path(folder), "cpu"), bytes(range(32)))
    examples = [engine.encoder.pair(f"Write {n} in words.", f"{n} is {n * n}") for n in range(12)]
    recipe = Recipe(rank=2, alpha=4.0, steps=6, batch=5, pass_tokens=160, rate=0.01)
    session = TrainingSession(engine, examples, recipe, "words").restore(
        Path(checkpoint).read_bytes()
    )
    for _ in session:
        pass
    Path(out).write_bytes(session.adapter().to_bytes())


if __name__ == "__main__":
    main(*sys.argv[1:])
