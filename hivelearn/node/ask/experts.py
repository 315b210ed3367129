"""The specialists that answer: who is in the pool, who takes a question, what they say.

A pool is a value: the current generations of all domains, or those with one
change, so that the gate can compare answering with and without it.

Its order is seniority, which settles a question that several experts claim: own
specialists first, then the others (`seniority.py`).
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from hivelearn.errors import UsageError
from hivelearn.inference import router
from hivelearn.inference.loss_cache import BASE, LossCache
from hivelearn.inference.route import Route
from hivelearn.inference.router import Claim, ExpertProfile, Surprise
from hivelearn.node.ask.seniority import by_seniority
from hivelearn.node.context import NodeContext
from hivelearn.node.served import content_id, served_id
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
    state: str  # the name of what it does; see `served.content_id`


@dataclass(frozen=True, slots=True)
class ExpertPool:
    """The experts of a node, senior first."""

    experts: tuple[Expert, ...]
    measured: LossCache = field(default_factory=LossCache, compare=False, repr=False)

    def adapter(self, route: Route) -> "Adapter | None":
        """Return the adapter that ``route`` chose; None is the base."""
        return None if (expert := self._expert(route)) is None else expert.adapter

    def _expert(self, route: Route) -> Expert | None:
        chosen = {e.about.id: e for e in self.experts}
        return chosen[route.experts[0]] if route.experts else None

    def routes(
        self,
        engine: "Engine",
        rows: "Sequence[Example]",
        domain: str | None = None,
        named: Sequence[str] = (),
        *,
        lasting: bool = False,
    ) -> list[Route]:
        """Return who takes each row.

        Args:
            engine: asked for prompt losses, one pass an expert and one for the base,
                only where it matters.
            rows: prompts.
            domain: as the user stated it, or None.
            named: expert ids the user asked for; the least surprised of them answers.
            lasting: the rows are the node's own, and what is measured may be kept on disk.
        """
        if named:
            asked = [e for e in self.experts if e.about.id in named]
            seen = self._seen(engine, rows, asked if len(asked) > 1 else [], lasting=lasting)
            return [_named(each, asked) for each in seen]
        candidates = [e.about for e in self.experts]
        if domain is not None:
            ids = {each.id for each in router.eligible(domain, candidates)}
            inside = [e for e in self.experts if e.about.id in ids]
            seen = self._seen(engine, rows, inside if len(inside) > 1 else [], lasting=lasting)
            return [router.by_domain(domain, each, candidates) for each in seen]
        claiming = [e for e in self.experts if e.about.claim is not None and e.about.trusted]
        seen = self._seen(engine, rows, claiming, lasting=lasting)
        return [router.route(each, candidates) for each in seen]

    def _seen(
        self,
        engine: "Engine",
        rows: "Sequence[Example]",
        experts: Sequence[Expert],
        *,
        lasting: bool,
    ) -> list[Mapping[str, Surprise]]:
        """Return how each row looks to each of ``experts``, by expert id."""
        if not experts:
            return [{} for _ in rows]
        base = self.measured.of(engine, rows, BASE, None, "prompt", lasting=lasting)
        columns = {}
        for e in experts:
            losses = self.measured.of(engine, rows, e.state, e.adapter, "prompt", lasting=lasting)
            columns[e.about.id] = router.surprises(losses, base)
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
        for route, places in self._groups(routes):
            some, adapter = [rows[i] for i in places], self.adapter(route)
            said = engine.generate(some, adapter, sampling, listener)
            found.update(zip(places, said, strict=True))
        return [found[i] for i in range(len(rows))]

    def losses(
        self,
        engine: "Engine",
        rows: "Sequence[Example]",
        routes: Sequence[Route],
        *,
        lasting: bool = False,
    ) -> list[float]:
        """Return answer losses (nats per answer token) as this pool serves the rows."""
        found: dict[int, float] = {}
        for route, places in self._groups(routes):
            some, expert = [rows[i] for i in places], self._expert(route)
            state, adapter = (BASE, None) if expert is None else (expert.state, expert.adapter)
            values = self.measured.of(engine, some, state, adapter, "answer", lasting=lasting)
            found.update(zip(places, values, strict=True))
        return [found[i] for i in range(len(rows))]

    def serve(
        self, engine: "Engine", domain: str | None = None
    ) -> "Callable[[Sequence[Example]], list[float]]":
        """Return this pool as the gate sees it: own rows to answer losses, routed."""

        def served(rows: "Sequence[Example]") -> list[float]:
            routes = self.routes(engine, rows, domain, lasting=True)
            return self.losses(engine, rows, routes, lasting=True)

        return served

    def _groups(self, routes: Sequence[Route]) -> list[tuple[Route, list[int]]]:
        places: dict[tuple[str, ...], list[int]] = {}
        for index, route in enumerate(routes):
            places.setdefault(route.experts, []).append(index)
        return [(routes[held[0]], held) for held in places.values()]


def _named(seen: Mapping[str, Surprise], asked: Sequence[Expert]) -> Route:
    best = asked[0]
    if seen:
        best = min(asked, key=lambda e: seen[e.about.id].loss)
    return Route((best.about.id,), "named", None)


def current(context: NodeContext) -> ExpertPool:
    """Return the pool of all current generations of this base."""
    return of(context, context.serving())


def of(context: NodeContext, generations: Iterable[Generation]) -> ExpertPool:
    """Return the pool that ``generations`` describe, senior first.

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
    vouched = {each.author for each in context.store.reputation.vouches()} if others else set()
    order = [(*each, True) for each in own]
    order += [(*each, False) for each in _by_seniority(context, others, vouched)]
    experts = [
        Expert(
            _profile(domain, served, own=mine, vouched=not mine and served.author in vouched),
            adapter,
            content_id(served.payload, adapter),
        )
        for domain, served, mine in order
        if (adapter := context.adapters.find(served)) is not None
    ]
    return ExpertPool(tuple(experts), context.measured)


def _by_seniority(
    context: NodeContext, others: Sequence[tuple[str, Served]], vouched: Collection[bytes]
) -> list[tuple[str, Served]]:
    if len(others) < 2:  # noqa: PLR2004 - nobody to be senior to
        return list(others)
    entries = (context.shelf.get(served.patch) for _, served in others if served.patch)
    arrived = {entry.id: entry.arrived_s for entry in entries if entry is not None}
    return by_seniority(others, vouched, arrived)


def replaced(generations: Iterable[Generation], new: Generation) -> list[Generation]:
    """Return ``generations`` with that of one domain exchanged, sorted by domain."""
    kept = {g.domain: g for g in generations} | {new.domain: new}
    return [kept[domain] for domain in sorted(kept)]


def _profile(domain: str, served: Served, *, own: bool, vouched: bool) -> ExpertProfile:
    claim = None
    if served.ceiling is not None and served.floor is not None:
        claim = Claim(served.ceiling, served.floor)
    author = b"" if own else served.author
    return ExpertProfile(served_id(served), domain, claim, own=own, vouched=vouched, author=author)


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
            about, adapter = (
                ExpertProfile(found[0], entry.domain, None),
                context.adapters.get(served),
            )
            experts.append(Expert(about, adapter, content_id(served.payload, adapter)))
    return ExpertPool(tuple(experts), context.measured), ids
