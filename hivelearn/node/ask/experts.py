"""The specialists that answer: who is in the pool, who takes a question, what they say.

A pool is a value: the current generations of all domains, or those with one
change, so that the gate can compare answering with and without it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from hivelearn.errors import UsageError
from hivelearn.inference import router
from hivelearn.inference.prompt_loss_cache import PromptLossCache
from hivelearn.inference.route import Route
from hivelearn.inference.router import ExpertProfile
from hivelearn.node.context import NodeContext
from hivelearn.node.served import served_id
from hivelearn.store.generations import Generation, Served
from hivelearn.store.shelf import State

if TYPE_CHECKING:
    from hivelearn.inference.chat import Example
    from hivelearn.inference.completion import Completion, Listener
    from hivelearn.inference.engine import Engine
    from hivelearn.inference.sampling import Sampling
    from hivelearn.patch.adapter import Adapter

NAMED: Final[tuple[State, ...]] = ("sandboxed", "admitted", "merged", "own")  # can be asked by id


@dataclass(frozen=True, slots=True)
class Expert:
    """One adapter that may answer."""

    about: ExpertProfile
    adapter: "Adapter"


@dataclass(frozen=True, slots=True)
class ExpertPool:
    """The experts of a node in a fixed order."""

    experts: tuple[Expert, ...]
    prompt_losses: PromptLossCache = field(
        default_factory=PromptLossCache, compare=False, repr=False
    )

    def adapter(self, route: Route) -> "Adapter | None":
        """Return the adapter that ``route`` chose; None is the base."""
        chosen = {e.about.id: e.adapter for e in self.experts}
        return chosen[route.experts[0]] if route.experts else None

    def routes(
        self,
        engine: "Engine",
        rows: "Sequence[Example]",
        domain: str | None = None,
        named: Sequence[str] = (),
    ) -> list[Route]:
        """Return who takes each row.

        Args:
            engine: asked for prompt losses, one pass an expert, only where it matters.
            rows: prompts.
            domain: as the user stated it, or None.
            named: expert ids the user asked for; the least surprised of them answers.
        """
        if named:
            asked = [e for e in self.experts if e.about.id in named]
            losses = self._losses(engine, rows, asked if len(asked) > 1 else [])
            return [_named(each, asked) for each in losses]
        candidates = [e.about for e in self.experts]
        if domain is not None:
            ids = {each.id for each in router.eligible(domain, candidates)}
            inside = [e for e in self.experts if e.about.id in ids]
            losses = self._losses(engine, rows, inside if len(inside) > 1 else [])
            return [router.by_domain(domain, each, candidates) for each in losses]
        carded = [e for e in self.experts if e.about.ceiling is not None and e.about.trusted]
        return [router.route(each, candidates) for each in self._losses(engine, rows, carded)]

    def _losses(
        self, engine: "Engine", rows: "Sequence[Example]", experts: Iterable[Expert]
    ) -> list[Mapping[str, float]]:
        columns = {
            e.about.id: self.prompt_losses.of(engine, rows, e.about.id, e.adapter) for e in experts
        }
        return [{name: column[i] for name, column in columns.items()} for i in range(len(rows))]

    def answer(
        self,
        engine: "Engine",
        rows: "Sequence[Example]",
        routes: Sequence[Route],
        sampling: "Sampling",
        listener: "Listener | None" = None,
    ) -> "list[Completion]":
        """Return the answers, each expert's questions in one batch."""
        found: dict[int, Completion] = {}
        for adapter, places in self._groups(routes):
            said = engine.generate([rows[i] for i in places], adapter, sampling, listener)
            found.update(zip(places, said, strict=True))
        return [found[i] for i in range(len(rows))]

    def losses(
        self, engine: "Engine", rows: "Sequence[Example]", routes: Sequence[Route]
    ) -> list[float]:
        """Return answer losses (nats per answer token) as this pool serves the rows."""
        found: dict[int, float] = {}
        for adapter, places in self._groups(routes):
            values = engine.losses([rows[i] for i in places], adapter, "answer")
            found.update(zip(places, values, strict=True))
        return [found[i] for i in range(len(rows))]

    def serve(
        self, engine: "Engine", domain: str | None = None
    ) -> "Callable[[Sequence[Example]], list[float]]":
        """Return this pool as the gate sees it: rows to answer losses, routed."""
        return lambda rows: self.losses(engine, rows, self.routes(engine, rows, domain))

    def _groups(self, routes: Sequence[Route]) -> "list[tuple[Adapter | None, list[int]]]":
        places: dict[tuple[str, ...], list[int]] = {}
        for index, route in enumerate(routes):
            places.setdefault(route.experts, []).append(index)
        return [(self.adapter(routes[held[0]]), held) for held in places.values()]


def _named(losses: Mapping[str, float], asked: Sequence[Expert]) -> Route:
    best = min(asked, key=lambda e: losses.get(e.about.id, 0.0))
    return Route((best.about.id,), "named", None)


def current(context: NodeContext) -> ExpertPool:
    """Return the pool of all current generations of this base."""
    return of(context, context.serving())


def of(context: NodeContext, generations: Iterable[Generation]) -> ExpertPool:
    """Return the pool that ``generations`` describe, own specialists first.

    An expert that the shelf has refused since is left out: a rollback may bring
    back a generation from before the refusal. So is an adapter that this disk has
    lost: it must not silence the others. A specialist is always our own.
    """
    refused = {entry.id for entry in context.on_shelf("refused")}
    own, others = [], []
    for generation in generations:
        if generation.specialist is not None:
            own.append((generation.domain, generation.specialist))
        heard = [served for served in generation.experts if served.patch not in refused]
        others += [(generation.domain, served) for served in heard]
    order = [(*each, True) for each in own] + [(*each, False) for each in others]
    experts = [
        Expert(_candidate(domain, served, own=mine), adapter)
        for domain, served, mine in order
        if (adapter := context.adapters.find(served)) is not None
    ]
    return ExpertPool(tuple(experts), context.prompt_losses)


def replaced(generations: Iterable[Generation], new: Generation) -> list[Generation]:
    """Return ``generations`` with that of one domain exchanged, sorted by domain."""
    kept = {g.domain: g for g in generations} | {new.domain: new}
    return [kept[domain] for domain in sorted(kept)]


def _candidate(domain: str, served: Served, *, own: bool) -> ExpertProfile:
    return ExpertProfile(served_id(served), domain, served.ceiling, own=own)


def with_named(
    context: NodeContext, pool: ExpertPool, wanted: Sequence[str]
) -> tuple[ExpertPool, list[str]]:
    """Return the pool with the experts that a caller named, and their full ids.

    Names are hex ids or unique beginnings of at least eight digits; patches in
    the sandbox are reachable this way and no other.

    Raises:
        UsageError: an id that is nowhere here, or ambiguous.
    """
    in_pool = {e.about.id for e in pool.experts}
    shelf = {entry.id.hex(): entry for state in NAMED for entry in context.on_shelf(state)}
    experts, ids = list(pool.experts), []
    for name in wanted:
        found = sorted(i for i in {*in_pool, *shelf} if i.startswith(name.lower()))
        if len(found) != 1 or len(name) < 8:  # noqa: PLR2004 - 32 bits, enough for one shelf
            raise UsageError(
                f"expert {name[:64]!r} is {'ambiguous' if found else 'not here'}",
                remedy="Take an id from `hivelearn status` or from answer.route.experts.",
            )
        ids.append(found[0])
        if found[0] not in in_pool:
            entry = shelf[found[0]]
            served = Served(entry.id, entry.payload or "", entry.author)
            about = ExpertProfile(found[0], entry.domain, None)
            experts.append(Expert(about, context.adapters.get(served)))
    return ExpertPool(tuple(experts), context.prompt_losses), ids
