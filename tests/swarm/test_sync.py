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


def pull(known=(), **more):
    shared, here = frozenset([SHARED, ONLY_A]), lambda one: one in known
    return sync.Pull(A, B, b"1" * 32, shared, here, here, read, **more)


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
    first, second = (one.envelope for one in list(NOTICES.values())[:2])
    puller.read = lambda _: None
    assert sync.step(puller, Announce(first, held=True)) == []
    assert sync.step(puller, None) == []
    assert sync.answer(offer(), None) == []

    def expired(_):
        raise PeerError("expired", fault="nobody")

    puller.read = expired
    assert sync.step(puller, Announce(second, held=True)) == []


def test_a_promise_not_kept_is_asked_again_only_in_the_next_session():
    puller = pull()
    tag = topics.tag(SHARED, B, topics.salt(b"1" * 32, b"2" * 32))
    sync.step(puller, Greeting(b"2" * 32))
    sync.step(puller, Heads(tag, tuple(NOTICES)[:1]))
    assert sync.step(puller, Done()) == [Send(Want(tuple(NOTICES)[:1]))]
    assert sync.step(puller, Done()) == [Finish()]


def told(puller, patches):
    """Let the puller hear, in its first session, that a peer has these patches."""
    tag = topics.tag(SHARED, B, topics.salt(b"1" * 32, b"2" * 32))
    sync.step(puller, Greeting(b"2" * 32))
    return tag, sync.step(puller, Heads(tag, tuple(patches)))


def test_heads_are_told_once():
    puller = pull()
    tag, _ = told(puller, (i.to_bytes(32, "big") for i in range(HEADS_MAX)))
    assert len(puller.missing) == HEADS_MAX
    more = Heads(tag, (b"m" * 32,))
    assert sync.step(puller, more) == [Blame(B, "sync.unasked"), Finish()]


def test_a_peer_has_us_verify_no_more_than_its_budget():
    puller = pull(budget=70)
    said, effects = converse(puller, offer())
    assert [len(one.patches) for one in said if isinstance(one, Want)] == [64, 6]
    assert len([one for one in effects if isinstance(one, Consider)]) == 70
    assert (puller.spent, puller.cut) == (70, True)
    said, _ = converse(pull(budget=150), offer())
    assert sum(len(one.patches) for one in said if isinstance(one, Want)) == 150


def test_what_nobody_asked_for_costs_no_signature_and_what_was_asked_one():
    checked = []

    def counting(envelope):
        checked.append(envelope)
        raise PeerError("expired", fault="nobody")

    puller = pull()
    puller.read = counting
    told(puller, NOTICES)
    sync.step(puller, Done())
    stranger = Announce(notice_of(b"x", author("bob")).envelope, held=True)
    assert sync.step(puller, stranger) == [Blame(B, "sync.unasked"), Finish()]
    assert not checked
    asked = Announce(NOTICES[next(iter(puller.asked))].envelope, held=True)
    answers = [sync.step(puller, asked) for _ in range(3)]
    assert answers[0] == []
    assert answers[1] == answers[2] == [Blame(B, "sync.unasked"), Finish()]
    assert len(checked) == 1


def test_what_is_held_already_is_not_asked_of_anybody():
    puller = pull(known=NOTICES)
    puller.fetches = lambda _: False
    assert told(puller, NOTICES)[1] == []


def test_a_peer_that_speaks_of_later_things_for_ever_is_left():
    puller = pull()
    answers = [sync.step(puller, None) for _ in range(sync.STRANGE_MAX + 1)]
    assert answers == [[]] * sync.STRANGE_MAX + [[Finish()]]


def test_one_tag_however_often_costs_one_reading_of_heads():
    reads = []
    offerer = offer()
    offerer.heads = lambda topic: reads.append(topic) or list(NOTICES)
    sync.answer(offerer, Greeting(b"1" * 32))
    tag = topics.tag(SHARED, A, offerer.salt)
    with pytest.raises(PeerError, match="stands twice"):
        AskHeads((tag,) * 256)
    sync.answer(offerer, AskHeads((tag,)))
    with pytest.raises(PeerError, match="out of turn"):
        sync.answer(offerer, AskHeads((tag,)))
    assert reads == [SHARED]


OUT_OF_TURN = {
    "heads before the greeting": [AskHeads((A,))],
    "a second greeting": [Greeting(A), Greeting(A)],
    "an answer instead of a question": [Greeting(A), Absent()],
    "heads a second time": [Greeting(A), AskHeads((A,)), AskHeads((A,))],
}


@pytest.mark.parametrize("messages", OUT_OF_TURN.values(), ids=OUT_OF_TURN.keys())
def test_a_message_out_of_turn_is_refused(messages):
    offerer, (*before, last) = offer(), messages
    for message in before:
        sync.answer(offerer, message)
    with pytest.raises(PeerError, match="out of turn"):
        sync.answer(offerer, last)
