"""Anti-entropy: what do you hold that I have not heard of? Without I/O.

One session, one direction: the opener pulls, the other side answers, and pulls
in a session of its own. No fabric replays history, so this is what makes late
joiners and healed partitions converge; gossip is only faster.

::

    opener                         other side
    Greeting(nonce)        →
                           ←       Greeting(nonce)
    AskHeads(tags)         →
                           ←       Heads(tag, patches) for each shared topic, Done
    Want(patches)          →
                           ←       Announce(envelope) for each, Done
                                   (again until nothing is missing)

Tags keep topics from strangers (``topics``). Envelopes are given only for
patches that this peer was told (``told``).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from hivelearn.errors import PeerError
from hivelearn.patch.notice import Notice, claimed_id
from hivelearn.swarm import topics
from hivelearn.swarm.effects import AddProvider, Blame, Consider, PeerEffect
from hivelearn.swarm.messages import (
    HEADS_MAX,
    WANTS_MAX,
    Announce,
    AskHeads,
    Done,
    Greeting,
    Heads,
    Want,
    WireMessage,
)
from hivelearn.swarm.told import Told


@dataclass(frozen=True, slots=True)
class Send:
    """Send ``message`` on the session's stream."""

    message: WireMessage


@dataclass(frozen=True, slots=True)
class Finish:
    """End the session: there is nothing more to ask."""


STRANGE_MAX: Final = 64  # messages of a later version in one session
SyncEffect: TypeAlias = Send | Finish | PeerEffect


@dataclass(slots=True)
class Pull:
    """The opener's side of one session."""

    me: bytes
    peer: bytes
    nonce: bytes
    topics: frozenset[bytes]
    knows: Callable[[bytes], bool]  # is this patch id known here?
    fetches: Callable[[bytes], bool]  # is its payload wanted right now?
    read: Callable[[bytes], Notice | None]  # raises PeerError
    budget: int = HEADS_MAX  # envelopes that this peer may have us verify now
    greeted: bool = False
    strange: int = 0  # messages of a later version
    spent: int = 0  # of the budget
    cut: bool = False  # there was more than the budget allows
    shared: set[bytes] = field(default_factory=set)  # topics that the peer is in, too
    missing: dict[bytes, bytes] = field(default_factory=dict)  # patch -> topic, to be asked
    asked: dict[bytes, bytes] = field(default_factory=dict)  # patch -> topic, asked now
    expected: dict[bytes, bytes] = field(default_factory=dict)  # tag -> topic


def begin(pull: Pull) -> list[SyncEffect]:
    """Return the first thing to say."""
    return [Send(Greeting(pull.nonce))]


def step(pull: Pull, message: WireMessage | None) -> list[SyncEffect]:
    """Return what follows from the peer's ``message`` (None: of a later version)."""
    match message:
        case Greeting(nonce) if not pull.greeted:
            pull.greeted = True
            return _ask_heads(pull, nonce)
        case Heads(tag, patches) if tag in pull.expected:
            return _compare(pull, pull.expected.pop(tag), patches)  # once for each topic
        case Announce(envelope, held) if pull.asked:
            return _learn(pull, envelope, held=held)
        case Done():
            return _next_wants(pull)
        case None:
            pull.strange += 1
            return [] if pull.strange <= STRANGE_MAX else [Finish()]
        case _:
            return [Blame(pull.peer, "sync.unasked"), Finish()]


def _ask_heads(pull: Pull, nonce: bytes) -> list[SyncEffect]:
    salt = topics.salt(pull.nonce, nonce)
    chosen = sorted(pull.topics)[: topics.TAGS_MAX]
    pull.expected = topics.recognise(chosen, pull.peer, salt)
    tags = sorted(topics.tag(one, pull.me, salt) for one in chosen)
    return [Send(AskHeads(tuple(tags)))]


def _compare(pull: Pull, topic: bytes, patches: tuple[bytes, ...]) -> list[SyncEffect]:
    pull.shared.add(topic)
    effects: list[SyncEffect] = []
    for patch in patches:
        if pull.fetches(patch):
            effects.append(AddProvider(topic, pull.peer, patch))
        elif pull.knows(patch):
            pass
        elif len(pull.missing) < pull.budget:
            pull.missing[patch] = topic
        else:
            pull.cut = True  # a later session brings the rest
    return effects


def _next_wants(pull: Pull) -> list[SyncEffect]:
    # What was asked and not answered is gone from there; the next session sees.
    batch = list(pull.missing)[:WANTS_MAX]
    pull.spent += len(batch)
    pull.asked = {patch: pull.missing.pop(patch) for patch in batch}
    return [Send(Want(tuple(batch)))] if batch else [Finish()]


def _learn(pull: Pull, envelope: bytes, *, held: bool) -> list[SyncEffect]:
    try:
        # Before the signature: what nobody asked for shall not cost us one.
        topic = pull.asked.pop(claimed_id(envelope), None)
        if topic is None:
            return [Blame(pull.peer, "sync.unasked"), Finish()]
        notice = pull.read(envelope)
    except PeerError as error:
        return [Blame(pull.peer, error.code), Finish()] if error.fault == "relay" else []
    if notice is None:
        return []
    return [Consider(topic, pull.peer, notice, held)]


@dataclass(slots=True)
class Offer:
    """The answering side of one session. Its callables may read a disk."""

    me: bytes
    peer: bytes
    nonce: bytes
    topics: frozenset[bytes]
    heads: Callable[[bytes], Iterable[bytes]]
    envelope: Callable[[bytes, frozenset[bytes]], bytes | None]  # of a patch held for the topics
    holds: Callable[[bytes, frozenset[bytes]], bool]  # is its payload here?
    told: Told
    salt: bytes = b""
    asked: bool = False  # heads are told once: reading all of them is work
    shared: set[bytes] = field(default_factory=set)


def answer(offer: Offer, message: WireMessage | None) -> list[WireMessage]:
    """Return the messages that answer ``message``.

    Raises:
        PeerError: it makes no sense at this point of a session.
    """
    match message:
        case Greeting(nonce) if not offer.salt:
            offer.salt = topics.salt(nonce, offer.nonce)
            return [Greeting(offer.nonce)]
        case AskHeads(tags) if offer.salt and not offer.asked:
            offer.asked = True
            return _tell_heads(offer, tags)
        case Want(patches):
            return _tell_envelopes(offer, patches)
        case None:
            return []
        case _:
            raise PeerError("a message out of turn", code="sync.turn")


def _tell_heads(offer: Offer, tags: tuple[bytes, ...]) -> list[WireMessage]:
    known = topics.recognise(offer.topics, offer.peer, offer.salt)
    answers: list[WireMessage] = []
    for topic in (known[tag] for tag in tags if tag in known):
        patches = tuple(offer.heads(topic))[:HEADS_MAX]
        offer.told.tell(offer.peer, topic, patches)
        offer.shared.add(topic)
        answers.append(Heads(topics.tag(topic, offer.me, offer.salt), patches))
    return [*answers, Done()]


def _tell_envelopes(offer: Offer, patches: tuple[bytes, ...]) -> list[WireMessage]:
    answers: list[WireMessage] = []
    for patch in patches:
        where = offer.told.where(offer.peer, patch)
        envelope = offer.envelope(patch, where) if where else None
        if envelope is not None:
            answers.append(Announce(envelope, held=offer.holds(patch, where)))
    return [*answers, Done()]
