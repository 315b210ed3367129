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

    Exit code 0: sealed and served. 1: sealed, but it measured no better.
    """
    import json
    from dataclasses import asdict, replace

    from hivelearn.node.node import Node

    recipe = replace(USUAL, steps=training.steps, batch=training.batch)
    with Node(training.where.model, home=training.where.home) as node:
        node.train(training.domain, recipe)
        report = node.last_training
    assert report is not None
    print(json.dumps(asdict(report)) if training.json else report)
    return DONE if report.adopted else NO_LIFT


@dataclass(frozen=True, slots=True)
class Adoption:
    """What `adopt` was given."""

    domain: Domain
    json: AsJson = False
    where: Where = field(default_factory=Where)


def adopt(adoption: Adoption) -> int:
    """Judge what arrived; serve it if it measures better.

    Exit code 0: something serves better now. 1: no lift, nothing changed.
    """
    from hivelearn.node.node import Node

    with Node(adoption.where.model, home=adoption.where.home) as node:
        report = node.merge(adoption.domain)
    print(report.to_json() if adoption.json else report)
    return DONE if report else NO_LIFT


@dataclass(frozen=True, slots=True)
class Return:
    """What `rollback` was given."""

    domain: Domain
    where: Where = field(default_factory=Where)


def rollback(wish: Return) -> int:
    """Serve a domain's previous state again."""
    from hivelearn.node import adopting
    from hivelearn.node.config import NodeConfig
    from hivelearn.node.workbench import open_workbench

    bench = open_workbench(wish.where.model, NodeConfig(home=wish.where.home))
    now = adopting.rollback(bench, wish.domain)
    print(f"{wish.domain}: generation {now.number}. {now.why}")
    return DONE
