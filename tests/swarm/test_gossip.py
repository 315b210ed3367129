"""Announcements: looked at once, paced before they cost anything."""

import pytest

from hivelearn.errors import PeerError
from hivelearn.patch.notice import read_envelope
from hivelearn.swarm import gossip
from hivelearn.swarm.effects import AddProvider, Blame, Consider
from hivelearn.swarm.gossip import Publish, RecordDomains
from hivelearn.swarm.limits import KEYS_MAX, KeyedBuckets, SwarmLimits, TokenBucket
from hivelearn.swarm.messages import Announce, Domains, Done, Have, encode
from hivelearn.testing.folder_store import NOW_S, author, envelope_of, notice_of

T, PEER, OTHER = b"t" * 32, b"p" * 32, b"o" * 32
NOTICE = notice_of(b"payload", author("alice"))


def make(*, floods=False, **limits):
    """Return a gossip and the list of what it verified."""
    checked = []

    def read(envelope):
        checked.append(envelope)
        return read_envelope(envelope, now_s=NOW_S)

    return gossip.Gossip(read, floods, SwarmLimits(**limits)), checked


def hear(state, message, peer=PEER, now=0.0):
    data = message if isinstance(message, bytes) else encode(message)
    return gossip.step(state, gossip.PostReceived(T, peer, data), now)


def forged(variant=0):
    envelope = bytearray(NOTICE.envelope)
    envelope[-1 - variant % 60] ^= 1 + variant // 60
    return Announce(bytes(envelope), held=True)


def test_news_is_learned_and_passed_on_without_claiming_the_payload():
    state, _ = make()
    assert hear(state, Announce(NOTICE.envelope, held=True)) == [
        Consider(T, PEER, NOTICE, held=True),
        Publish(T, Announce(NOTICE.envelope, held=False)),
    ]


def test_where_the_fabric_floods_we_do_not():
    state, _ = make(floods=True)
    effects = hear(state, Announce(NOTICE.envelope, held=False))
    assert effects == [Consider(T, PEER, NOTICE, held=False)]


def test_the_same_bytes_are_verified_once_and_add_providers():
    state, checked = make()
    for peer in (PEER, OTHER, PEER):
        effects = hear(state, Announce(NOTICE.envelope, held=True), peer)
    assert effects == [AddProvider(T, PEER, NOTICE.id)]
    assert hear(state, Announce(NOTICE.envelope, held=False), OTHER) == []
    assert len(checked) == 1


def test_our_own_announcement_that_comes_back_is_no_news():
    state, checked = make()
    mine = gossip.step(state, gossip.PatchPublished(T, NOTICE), 0.0)
    assert mine == [Publish(T, Announce(NOTICE.envelope, held=True))]
    assert hear(state, Announce(NOTICE.envelope, held=False)) == []
    assert not checked


def test_a_forgery_blames_its_relay_and_is_not_remembered():
    state, _ = make()
    assert hear(state, forged()) == [Blame(PEER, "sig")]
    assert not state.seen


def test_a_flood_of_forgeries_buys_few_signature_checks():
    state, checked = make()
    for i in range(5_000):
        hear(state, forged(i), now=i / 1_000)  # a thousand a second for five seconds
    assert len(checked) < 20
    assert state.dropped > 4_900
    assert hear(state, Announce(NOTICE.envelope, held=True), OTHER, now=5.0), "others are heard"


def test_a_flood_of_anything_is_cut_to_the_rate():
    state, _ = make(posts_per_s=10.0, posts_burst=20.0)
    heard = sum(bool(hear(state, Have(NOTICE.id), now=i / 100)) for i in range(1_000))
    assert 110 <= heard <= 121


def test_memory_of_announcements_is_bounded():
    state, _ = make(seen_max=3)
    for seq in range(9):
        envelope = notice_of(b"payload", author("alice"), seq=seq).envelope
        hear(state, Announce(envelope, held=False))
    assert len(state.seen) == 3


MESSAGES = {
    "have": (encode(Have(NOTICE.id)), [AddProvider(T, PEER, NOTICE.id)]),
    "domains": (encode(Domains(("roman",))), [RecordDomains(("roman",))]),
    "a later kind": (b"\xa1\x00\x18\x63", []),
    "garbage": (b"\xff", [Blame(PEER, "frame.malformed")]),
    "no business here": (encode(Done()), [Blame(PEER, "gossip.kind")]),
}


@pytest.mark.parametrize(("data", "effects"), MESSAGES.values(), ids=MESSAGES.keys())
def test_each_message_has_its_effect(data, effects):
    state, _ = make()
    assert hear(state, data) == effects


def test_an_authors_fault_is_not_the_relays():
    who = author("alice")
    expired = notice_of(b"payload", who).body

    def read(_envelope):
        raise PeerError("nonsense, but signed", fault="author", code="body")

    state = gossip.Gossip(read, floods=False)
    announce = Announce(envelope_of(expired, who), held=True)
    assert hear(state, announce) == []
    assert hear(state, announce, OTHER) == [], "and it is remembered, for it stays nonsense"


def test_a_record_of_a_later_kind_is_remembered_and_ignored():
    state = gossip.Gossip(lambda _envelope: None, floods=False)
    announce = Announce(b"later", held=True)
    assert hear(state, announce) == hear(state, announce) == []
    assert len(state.seen) == 1


def test_a_bucket_holds_at_most_its_burst_and_owes_at_most_as_much():
    bucket = TokenBucket(rate=1.0, burst=2.0, tokens=2.0, at=0.0)
    assert [bucket.take(0.0) for _ in range(3)] == [True, True, False]
    bucket.fine(0.0, 100.0)
    assert bucket.tokens == -2.0
    assert not bucket.take(2.5)
    assert bucket.take(3.5)
    assert [bucket.take(1e9) for _ in range(3)] == [True, True, False]


def test_of_so_many_peers_the_pace_is_remembered_and_no_more():
    buckets = KeyedBuckets(rate=1.0, burst=2.0)
    assert buckets.of(PEER, 0.0).take(0.0, 2.0)
    for number in range(KEYS_MAX - 1):
        buckets.of(number, 0.0)
    assert not buckets.of(PEER, 0.0).take(0.0), "who left and came back finds it as it was"
    for number in range(KEYS_MAX):
        buckets.of(number, 0.0)
    assert buckets.of(PEER, 0.0).take(0.0), "forgotten"
    assert len(buckets.kept) == KEYS_MAX
