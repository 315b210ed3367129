"""Anti-entropy, both sides of a session put face to face without a network."""

import pytest

from hivelearn.errors import PeerError
from hivelearn.patch.notice import read_envelope
from hivelearn.swarm import sync, topics
from hivelearn.swarm.effects import AddProvider, Blame, Consider
from hivelearn.swarm.messages import (
    HEADS_MAX,
    Absent,
    Announce,
    AskHeads,
    Done,
    Greeting,
    Heads,
    Want,
)
from hivelearn.swarm.sync import Finish, Send
from hivelearn.swarm.told import Told
from hivelearn.testing.folder_store import NOW_S, author, notice_of

A, B = b"a" * 32, b"b" * 32
SHARED, ONLY_A, ONLY_B = b"s" * 32, b"x" * 32, b"y" * 32
NOTICES = {
    one.id: one for one in (notice_of(b"%d" % i, author("alice"), seq=i) for i in range(150))
}


def read(envelope):
    return read_envelope(envelope, now_s=NOW_S)


def pull(known=()):
    return sync.Pull(A, B, b"1" * 32, frozenset([SHARED, ONLY_A]), lambda one: one in known, read)


def offer(held=NOTICES, joined=(SHARED, ONLY_B)):
    def envelope(patch, topics):
        assert topics == {SHARED}
        return held[patch].envelope if patch in held else None

    return sync.Offer(
        me=B,
        peer=A,
        nonce=b"2" * 32,
        topics=frozenset(joined),
        heads=lambda _topic: list(held),
        envelope=envelope,
        holds=lambda _patch, _topics: True,
        told=Told(lambda _peer, _topic: True),
    )


def converse(puller, offerer):
    """Run a session; return all that was said by the opener, and all effects."""
    said, effects, todo = [], [], sync.begin(puller)
    while todo:
        effect = todo.pop(0)
        effects.append(effect)
        if isinstance(effect, Send):
            said.append(effect.message)
            for message in sync.answer(offerer, effect.message):
                todo += sync.step(puller, message)
    return said, effects


def test_everything_missing_is_learned_and_what_is_known_is_not_asked():
    known = sorted(NOTICES)[:30]
    puller = pull(known)
    said, effects = converse(puller, offer())
    learned = {one.notice.id for one in effects if isinstance(one, Consider)}
    assert learned == set(NOTICES) - set(known)
    assert {one.patch for one in effects if isinstance(one, AddProvider)} == set(known)
    assert all(one.topic == SHARED and one.held for one in effects if isinstance(one, Consider))
    assert [type(one) for one in said] == [Greeting, AskHeads, Want, Want]
    assert effects[-1] == Finish()
    assert puller.shared == {SHARED}


def test_no_topic_id_is_ever_said():
    said, _ = converse(pull(), offer())
    spoken = b"".join(tag for one in said if isinstance(one, AskHeads) for tag in one.tags)
    assert len(spoken) == 64
    assert not any(topic in spoken for topic in (SHARED, ONLY_A))


def test_a_stranger_hears_of_nothing():
    said, effects = converse(pull(), offer(joined=[ONLY_B]))
    assert not [one for one in effects if isinstance(one, Consider | AddProvider)]
    assert [type(one) for one in said] == [Greeting, AskHeads]


def test_an_echo_of_our_tags_proves_no_topic():
    puller = pull()
    (ask,) = sync.step(puller, Greeting(b"2" * 32))
    heads = Heads(ask.message.tags[0], tuple(NOTICES))
    assert sync.step(puller, heads) == [Blame(B, "sync.unasked"), Finish()]


def test_only_what_was_told_is_given():
    offerer = offer()
    sync.answer(offerer, Greeting(b"1" * 32))
    assert sync.answer(offerer, Want((next(iter(NOTICES)),))) == [Done()]


def test_a_forged_or_unasked_envelope_ends_the_session_with_blame():
    forged = bytearray(next(iter(NOTICES.values())).envelope)
    forged[-1] ^= 1
    for envelope, code in (
        (bytes(forged), "sig"),
        (notice_of(b"x", author("bob")).envelope, "sync.unasked"),
    ):
        puller = pull()
        sync.step(puller, Greeting(b"2" * 32))
        tag = topics.tag(SHARED, B, topics.salt(b"1" * 32, b"2" * 32))
        sync.step(puller, Heads(tag, tuple(NOTICES)))
        sync.step(puller, Done())
        announce = Announce(envelope, held=True)
        assert sync.step(puller, announce) == [Blame(B, code), Finish()]


def test_what_nobodys_fault_is_costs_nobody():
    puller = pull()
    puller.asked = dict.fromkeys(NOTICES, SHARED)
    puller.read = lambda _: None
    assert sync.step(puller, Announce(b"later", held=True)) == []
    assert sync.step(puller, None) == []
    assert sync.answer(offer(), None) == []

    def expired(_):
        raise PeerError("expired", fault="nobody")

    puller.read = expired
    assert sync.step(puller, Announce(b"expired", held=True)) == []


def test_a_promise_not_kept_is_asked_again_only_in_the_next_session():
    puller = pull()
    tag = topics.tag(SHARED, B, topics.salt(b"1" * 32, b"2" * 32))
    sync.step(puller, Greeting(b"2" * 32))
    sync.step(puller, Heads(tag, tuple(NOTICES)[:1]))
    assert sync.step(puller, Done()) == [Send(Want(tuple(NOTICES)[:1]))]
    assert sync.step(puller, Done()) == [Finish()]


def test_heads_without_end_are_cut():
    puller = pull()
    tag = topics.tag(SHARED, B, topics.salt(b"1" * 32, b"2" * 32))
    sync.step(puller, Greeting(b"2" * 32))
    for start in range(0, 3 * HEADS_MAX, HEADS_MAX):
        told = range(start, start + HEADS_MAX)
        sync.step(puller, Heads(tag, tuple(i.to_bytes(32) for i in told)))
    assert len(puller.missing) == HEADS_MAX


OUT_OF_TURN = {
    "heads before the greeting": [AskHeads((A,))],
    "a second greeting": [Greeting(A), Greeting(A)],
    "an answer instead of a question": [Greeting(A), Absent()],
}


@pytest.mark.parametrize("messages", OUT_OF_TURN.values(), ids=OUT_OF_TURN.keys())
def test_a_message_out_of_turn_is_refused(messages):
    offerer, (*before, last) = offer(), messages
    for message in before:
        sync.answer(offerer, message)
    with pytest.raises(PeerError, match="out of turn"):
        sync.answer(offerer, last)
