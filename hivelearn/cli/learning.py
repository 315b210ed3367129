"""Train, adopt, roll back: what changes the answers."""

from dataclasses import dataclass, field
from typing import Annotated, Final

import typer

from hivelearn.cli.command import DONE, NO_LIFT, Where
from hivelearn.training.recipe import Recipe

USUAL: Final = Recipe()
Domain = Annotated[str, typer.Argument(help="Such as roman.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@dataclass(frozen=True, slots=True)
class Training:
    """What `train` was given."""

    domain: Domain
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps.")] = USUAL.steps
    batch: Annotated[int, typer.Option(min=1, help="Corrections a step.")] = USUAL.batch
    json: AsJson = False
    where: Where = field(default_factory=Where)


def train(training: Training) -> int:
    """Learn from a domain's corrections, or go on doing so.

    With 20 held-out corrections or more the result serves only if it measures
    better; with fewer it serves unmeasured, and the line says so.

    Exit code 0: sealed and served. 1: sealed, but it measured no better.
    """
    import json
    from dataclasses import asdict, replace

    from hivelearn.node.config import NodeConfig
    from hivelearn.node.context import open_context
    from hivelearn.node.learn import train

    recipe = replace(USUAL, steps=training.steps, batch=training.batch)
    context = open_context(training.where.model, NodeConfig(home=training.where.home))
    _, report = train.train(context, training.domain, recipe, context.config.safety)
    print(json.dumps(asdict(report)) if training.json else report)
    return DONE if report.adopted else NO_LIFT


@dataclass(frozen=True, slots=True)
class Adoption:
    """What `adopt` was given."""

    domain: Domain
    json: AsJson = False
    where: Where = field(default_factory=Where)


def adopt(adoption: Adoption) -> int:
    """Judge what arrived, and what a rollback took out; serve what passes.

    A patch for a domain of your own is merged, and the merge serves only if it
    measures better. A patch for another domain is admitted as an expert if its
    author is trusted and nothing of yours is harmed.

    Exit code 0: something serves that did not. 1: nothing changed.
    """
    from hivelearn.node.config import NodeConfig
    from hivelearn.node.context import open_context
    from hivelearn.node.merge import merge

    context = open_context(adoption.where.model, NodeConfig(home=adoption.where.home))
    report = merge.merge(context, adoption.domain)
    print(report.to_json() if adoption.json else report)
    return DONE if report else NO_LIFT


@dataclass(frozen=True, slots=True)
class Return:
    """What `rollback` was given."""

    domain: Domain
    where: Where = field(default_factory=Where)


def rollback(wish: Return) -> int:
    """Serve a domain's previous state again."""
    from hivelearn.node.config import NodeConfig
    from hivelearn.node.context import open_context
    from hivelearn.node.merge import rollback

    context = open_context(wish.where.model, NodeConfig(home=wish.where.home))
    now = rollback.rollback(context, wish.domain)
    print(now)
    if taken := rollback.taken_back(context, wish.domain):
        rest = "1 patch rests" if len(taken) == 1 else f"{len(taken)} patches rest"
        print(f"{rest} in the sandbox; `hivelearn adopt {wish.domain}` judges again")
    return DONE
