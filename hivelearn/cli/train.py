"""`hivelearn train`: learn from corrections."""

from dataclasses import dataclass, field
from typing import Annotated, Final

import typer

from hivelearn.cli.command import DONE, NO_LIFT, AsJson, DomainArgument, NodeOptions
from hivelearn.training.recipe import Recipe

USUAL: Final = Recipe()


@dataclass(frozen=True, slots=True)
class TrainCommand:
    """What `train` was given."""

    domain: DomainArgument
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps.")] = USUAL.steps
    batch: Annotated[int, typer.Option(min=1, help="Corrections a step.")] = USUAL.batch
    json: AsJson = False
    node: NodeOptions = field(default_factory=NodeOptions)


def train(wanted: TrainCommand) -> int:
    """Learn from a domain's corrections, or go on doing so.

    With 20 held-out corrections or more the result serves only if it measures
    better; with fewer it serves unmeasured, and the line says so.

    Exit code 0: sealed and served. 1: sealed, but it measured no better.
    """
    import json
    from dataclasses import asdict, replace

    from hivelearn.node.learn import train

    recipe = replace(USUAL, steps=wanted.steps, batch=wanted.batch)
    context = wanted.node.open(existing=True)
    _, report = train.train(context, wanted.domain, recipe, context.config.safety)
    print(json.dumps(asdict(report)) if wanted.json else report)
    return DONE if report.adopted else NO_LIFT
