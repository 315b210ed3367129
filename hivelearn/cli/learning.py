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

    from hivelearn.node import learning
    from hivelearn.node.config import NodeConfig
    from hivelearn.node.workbench import open_workbench

    recipe = replace(USUAL, steps=training.steps, batch=training.batch)
    bench = open_workbench(training.where.model, NodeConfig(home=training.where.home))
    _, report = learning.train(bench, training.domain, recipe, bench.config.safety)
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
    from hivelearn.node import believing
    from hivelearn.node.config import NodeConfig
    from hivelearn.node.workbench import open_workbench

    bench = open_workbench(adoption.where.model, NodeConfig(home=adoption.where.home))
    report = believing.merge(bench, adoption.domain)
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
    print(now)
    if taken := adopting.taken_back(bench, wish.domain):
        rest = "1 patch rests" if len(taken) == 1 else f"{len(taken)} patches rest"
        print(f"{rest} in the sandbox; `hivelearn adopt {wish.domain}` judges again")
    return DONE
