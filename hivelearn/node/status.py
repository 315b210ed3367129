"""How a node stands, read without opening its model: half a second, torch not loaded."""

import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from hivelearn.errors import DeviceError
from hivelearn.identity import IdentityError, full_name, short_name
from hivelearn.node import feed_notes, measure, payloads
from hivelearn.node.context import NodeContext
from hivelearn.node.served import served_id
from hivelearn.report.table import Table
from hivelearn.store.errors import LostAdapterError
from hivelearn.store.generations import Generation, Served
from hivelearn.store.witness import LOSS_REMEDY

SHOWN_DIGITS: Final = 12  # of an id: enough to tell the patches of one shelf apart
SHOWN_EXPERTS: Final = 12
SHOWN_LOSSES: Final = 12


@dataclass(frozen=True, slots=True)
class DomainStatus:
    """One domain's corrections and what serves it."""

    domain: str
    training: int
    holdout: int
    generation: int | None
    serves: str  # base, specialist, experts, and what is lost of them: in words
    waiting: int  # patches in quarantine
    paused: bool  # a training waits to go on
    left_out: int = 0  # corrections that do not fit the model, as far as that was found
    rounds: "RoundsStatus | None" = None  # with others, on one trunk; None: none was played


@dataclass(frozen=True, slots=True)
class RoundsStatus:
    """How the rounds of a domain went."""

    trunk: str  # id, hex
    height: int
    parts: int  # that it was made of
    losses: tuple[float, ...]  # of each trunk on the own corrections, nats per answer token

    def __str__(self) -> str:
        """Return a line with the curve."""
        shown = " ".join(f"{loss:.2f}" for loss in self.losses[-SHOWN_LOSSES:])
        before = "… " if len(self.losses) > SHOWN_LOSSES else ""
        return (
            f"trunk {self.height} ({self.trunk[:8]}) of {self.parts} parts; "
            f"loss by trunk {before}{shown}"
        )


@dataclass(frozen=True, slots=True)
class ExpertStatus:
    """An adapter that can be asked by name: ``ask(..., experts=[id])``, `ask --experts ID`."""

    id: str  # whole; its first eight digits or more will do
    domain: str
    role: str  # own specialist, expert, sandboxed: in words
    author: str  # short name


@dataclass(frozen=True, slots=True, repr=False)
class Status:
    """Everything worth knowing about a node at a glance."""

    name: str
    key: str  # empty where the home has no keys, or none that can be used
    home: Path
    model: str
    base: str  # fingerprint, hex
    domains: tuple[DomainStatus, ...]
    shelf: dict[str, int]  # patches by state
    vouched: int
    writer: str | None  # which process writes to the home and what, or None
    problems: tuple[str, ...] = ()  # what this disk has lost, each with what to do
    experts: tuple[ExpertStatus, ...] = ()  # what serves, then the sandbox
    remembers: str | None = None  # the home's model, which calls take that name none

    def __str__(self) -> str:
        """Return a few lines for a terminal."""
        rows = [
            {
                "domain": d.domain,
                "corrections": d.training,
                "held out": d.holdout,
                "generation": "–" if d.generation is None else d.generation,
                "serves": d.serves,
                "in quarantine": d.waiting,
                "training": "paused" if d.paused else "",
            }
            for d in self.domains
        ]
        shelf = ", ".join(f"{count} {state}" for state, count in sorted(self.shelf.items()))
        lines = [
            f"{self.name}  {self.key}",
            f"home   {self.home}",
            f"model  {self.model} ({self.base[:16]}){self._of_home()}",
            f"shelf  {shelf or 'empty'}; {self.vouched} vouched for",
        ]
        if self.writer:
            lines.append(f"busy   {self.writer}")
        lines += [f"lost   {problem}" for problem in self.problems]
        lines.append(str(Table.of(rows)) if rows else "no corrections yet: ask, then correct")
        lines += [f"{d.domain}: {d.rounds}" for d in self.domains if d.rounds]
        lines += [
            f"{d.domain}: left out, because they do not fit this model: {d.left_out}"
            for d in self.domains
            if d.left_out
        ]
        if shown := [asdict(e) | {"id": e.id[:SHOWN_DIGITS]} for e in self.experts[:SHOWN_EXPERTS]]:
            lines += ["", str(Table.of(shown))]
            if more := len(self.experts) - len(shown):
                lines.append(f"and {more} more; `hivelearn status --json` has all")
        return "\n".join(lines)

    def _of_home(self) -> str:
        if self.remembers is None:
            return ""
        ours = self.remembers.rsplit("/", 1)[-1] == self.model
        return ", this home's" if ours else f"; this home remembers {self.remembers}"

    __repr__ = __str__  # what a notebook or a shell shows is for people

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self), default=str)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def read_status(context: NodeContext) -> Status:
    """Return the status of the node on ``context``.

    Whatever can be read is told: a home may be full, read-only or damaged. Every
    payload that serves is read and verified, a second for a gigabyte.
    """
    store = context.store
    name, key, troubles = _name(context)
    lost = payloads.lost(store, context.base)
    counts = store.journal.counts()
    serving = {g.domain: g for g in context.serving()}
    quarantined = context.on_shelf("quarantined")
    waiting = [entry.domain for entry in quarantined]
    paused = {domain for base, domain, _ in store.checkpoints.paused() if base == context.base}
    unfit = _left_out(context)
    domains = []
    for domain in sorted({*counts, *serving, *waiting}):
        generation = serving.get(domain)
        domains.append(
            DomainStatus(
                domain=domain,
                training=counts[domain].training if domain in counts else 0,
                holdout=counts[domain].holdout if domain in counts else 0,
                generation=generation.number if generation else None,
                serves=_serves(generation, [each for each in lost if each.domain == domain]),
                waiting=waiting.count(domain),
                paused=domain in paused,
                left_out=unfit.count(domain),
                rounds=_rounds(context, domain),
            )
        )
    return Status(
        name=name,
        key=key,
        home=context.home.path,
        model=context.choice.name,
        remembers=context.choice.remembered,
        base=context.base.hex(),
        domains=tuple(domains),
        shelf={str(state): count for state, count in store.shelf.counts().items()},
        vouched=len(store.reputation.vouches()),
        writer=_writer(context),
        problems=(*_losses(context), *feed_notes.stale(context), *map(str, (*troubles, *lost))),
        experts=_experts(context, serving.values()),
    )


def read_name(context: NodeContext) -> str:
    """Return the node's short name, or in words why it has none; makes no keys."""
    return _name(context)[0]


def _rounds(context: NodeContext, domain: str) -> RoundsStatus | None:
    history = context.store.trunks.history(context.base, domain)
    if not history:
        return None
    losses = tuple(trunk.loss for trunk in history if trunk.loss is not None)
    now = history[-1]
    return RoundsStatus(now.id.hex(), now.height, now.parts, losses)


def _left_out(context: NodeContext) -> list[str]:
    """Return the domain of each correction that stands and does not fit."""
    known = measure.left_out(context)
    return [c.domain for c in context.journal.list() if c.id in known] if known else []


def _experts(context: NodeContext, serving: Iterable[Generation]) -> tuple[ExpertStatus, ...]:
    """Return own specialists, the experts beside them, and the sandbox."""

    def named(domain: str, served: Served, role: str) -> ExpertStatus:
        return ExpertStatus(served_id(served), domain, role, short_name(served.author))

    own, others = [], []
    for generation in serving:
        if generation.specialist is not None:
            own.append(named(generation.domain, generation.specialist, "own specialist"))
        others += [named(generation.domain, each, "expert") for each in generation.experts]
    sandboxed = [
        ExpertStatus(entry.id.hex(), entry.domain, "sandboxed", short_name(entry.author))
        for entry in context.on_shelf("sandboxed")
    ]
    return (*own, *others, *sandboxed)


def _name(context: NodeContext) -> tuple[str, str, tuple[DeviceError, ...]]:
    """Return short name, key, and what is wrong with them."""
    try:
        me = context.known_identity()
    except IdentityError as error:
        return "(no keys)", "", (error,)
    if me is None:
        return "(no keys yet)", "", ()
    return short_name(me.author), full_name(me.author), ()


def _losses(context: NodeContext) -> list[str]:
    """Return what this disk has lost of what was acknowledged, written down or not yet."""
    todo = LOSS_REMEDY.format(path=context.store.losses.path)
    return [f"{loss}\n→ {todo}" for loss in context.store.all_losses()]


def _serves(generation: Generation | None, lost: Sequence[LostAdapterError]) -> str:
    parts = []
    if generation is not None:
        own = generation.specialist is not None and not any(each.own for each in lost)
        experts = len(generation.experts) - sum(not each.own for each in lost)
        parts += ["own specialist"] if own else []
        parts += [f"{experts} expert{'s' if experts > 1 else ''}"] if experts else []
    serves = " and ".join(parts) or "base model"
    return f"{serves}; {len(lost)} lost" if lost else serves


def _writer(context: NodeContext) -> str | None:
    import psutil

    pid, doing, _since = context.home.lock.holder()
    # A killed writer leaves its name behind, though not its lock.
    return f"process {pid}: {doing}" if pid is not None and psutil.pid_exists(pid) else None
