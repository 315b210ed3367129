"""`hivelearn train`: learn from corrections."""

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hivelearn.cli.command import (
    DONE,
    NO_LIFT,
    NOTHING_CHANGED,
    AsJson,
    DomainArgument,
    NodeOptions,
)

if TYPE_CHECKING:
    from hivelearn.node.events import Event

FOLLOWS: Final = "[default: follows the corrections]"


@dataclass(frozen=True, slots=True)
class TrainCommand:
    """What `train` was given."""

    domain: DomainArgument
    steps: Annotated[
        int | None, typer.Option(min=1, help=f"Optimizer steps. {FOLLOWS}", show_default=False)
    ] = None
    batch: Annotated[
        int | None, typer.Option(min=1, help=f"Corrections a step. {FOLLOWS}", show_default=False)
    ] = None
    rate: Annotated[
        float | None,
        typer.Option(help="Peak learning rate. [default: follows the model]", show_default=False),
    ] = None
    rank: Annotated[
        int | None, typer.Option(min=1, help="Of the LoRA. [default: 16]", show_default=False)
    ] = None
    estimate: Annotated[bool, typer.Option("--estimate", help="Only tell what it would cost.")] = (
        False
    )
    json: AsJson = False
    node: NodeOptions = field(default_factory=NodeOptions)


def train(wanted: TrainCommand) -> int:
    """Learn from a domain's corrections, or go on doing so.

    Says after its first step how long it will take. With 20 held-out corrections or
    more the result serves only if it measures better; with fewer it serves unmeasured,
    and the line says so.

    Exit code 0: sealed and served. 1: sealed, but it measured no better.
    """
    from dataclasses import replace

    from hivelearn.node.learn import train

    context = wanted.node.open(existing=True)
    named = {name: getattr(wanted, name) for name in ("steps", "batch", "rate", "rank")}
    stated = {name: value for name, value in named.items() if value is not None}
    recipe = replace(context.config.recipe, **stated)
    if wanted.estimate:
        told = train.estimated(context, wanted.domain, recipe)
        print(told.to_json() if wanted.json else told)
        return DONE
    with context.events.subscribe(_tell):
        _, report = train.train(context, wanted.domain, recipe, context.config.safety)
    print(report.to_json() if wanted.json else report)
    return DONE if report.adopted else NO_LIFT


def kept(wanted: TrainCommand) -> str:
    """Return what Ctrl-C leaves behind."""
    if wanted.estimate:
        return NOTHING_CHANGED
    return "What was learnt so far is kept; the same command goes on from there."


def _tell(event: "Event") -> None:
    """Say on stderr what a training will cost; on a terminal the bar has the rest."""
    from hivelearn.node.events import TrainingEstimated

    if isinstance(event, TrainingEstimated):
        print(event.estimate, file=sys.stderr, flush=True)
