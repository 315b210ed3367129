"""Fetching: what is asked of whom, and what happens to those who do not deliver."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivelearn.patch.chunks import CHUNK_BYTES, leaves_of
from hivelearn.swarm import transfer
from hivelearn.swarm import transfer_events as on
from hivelearn.swarm.effects import Blame
from hivelearn.swarm.limits import SwarmLimits
from hivelearn.swarm.transfer_events import (
    Deliver,
    DropStream,
    GiveUp,
    OpenStream,
    Rehash,
    RequestChunk,
    WriteChunk,
)
from hivelearn.testing.clock import ManualClock
from hivelearn.testing.folder_store import author, notice_of

PAYLOAD = random.Random(0).randbytes(19 * CHUNK_BYTES + 5)  # 20 chunks
LEAVES = tuple(leaves_of(PAYLOAD))
NOTICE = notice_of(PAYLOAD, author("alice"))
P, Q, R = b"p" * 32, b"q" * 32, b"r" * 32


class Harness:
    """A transfer with a clock; remembers every effect."""

    def __init__(self, notice=NOTICE, seed=0, **limits):
        self.machine = transfer.Transfer(random.Random(seed), SwarmLimits(**limits))
        self.clock, self.notice, self.all = ManualClock(0.0), notice, []

    def on(self, event):
        effects = transfer.step(self.machine, event, self.clock())
        self.all += effects
        return effects

    def begin(self, *peers, present=()):
        self.on(on.Wanted(self.notice))
        for peer in peers:
            self.on(on.ProviderFound(peer, self.notice.id))
        for peer in peers:
            self.leaves(peer)
        return self.on(on.Rehashed(self.notice.id, frozenset(present)))

    def leaves(self, peer, leaves=LEAVES):
        return self.on(on.LeavesReceived(peer, self.notice.id, leaves))

    def chunk(self, peer, index, data=None):
        data = chunk(index) if data is None else data
        return self.on(on.ChunkReceived(peer, self.notice.id, index, data))

    def written(self, index):
        return self.on(on.ChunkWritten(self.notice.id, index))

    def open_requests(self):
        download = self.machine.downloads[self.notice.id]
        return {peer: sorted(stream.asked) for peer, stream in download.streams.items()}


def chunk(index):
    return PAYLOAD[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]


def requests(effects):
    return [(one.peer, one.index) for one in effects if isinstance(one, RequestChunk)]


def finish(harness, *peers):
    """Let ``peers`` answer all that is asked of them."""
    for _ in range(1_000):
        download = harness.machine.downloads.get(harness.notice.id)
        todo = (
            [(p, i) for p in peers for i in harness.open_requests().get(p, [])] if download else []
        )
        if not todo:
            return
        harness.chunk(*todo[0])
        harness.written(todo[0][1])


def test_leaves_come_first_then_the_file_is_hashed_then_chunks_are_asked():
    harness = Harness()
    assert harness.on(on.Wanted(NOTICE)) == []
    assert harness.on(on.ProviderFound(P, NOTICE.id)) == [OpenStream(P, NOTICE.id)]
    assert harness.leaves(P) == [Rehash(NOTICE, LEAVES)]
    asked = requests(harness.on(on.Rehashed(NOTICE.id, frozenset())))
    assert len(asked) == SwarmLimits().in_flight


def test_each_chunk_is_asked_once_and_all_end_written():
    harness = Harness()
    harness.begin(P, Q)
    finish(harness, P, Q)
    counts = Counter(index for _, index in requests(harness.all))
    assert counts == Counter(range(20))
    assert {one.index for one in harness.all if isinstance(one, WriteChunk)} == set(range(20))
    assert harness.all[-1] == Deliver(NOTICE)
    assert harness.machine.active(), "the store is taking it"
    assert harness.chunk(Q, 3) == harness.leaves(Q) == [], "what is late is no lie"
    assert harness.begin(P) == [], "and nobody fetches it a second time meanwhile"
    harness.on(on.Settled(NOTICE.id))
    assert not harness.machine.downloads
    assert not harness.machine.active()


def test_it_is_complete_only_when_the_last_chunk_is_written():
    harness = Harness()
    harness.begin(P, present=range(1, 20))
    assert harness.chunk(P, 0) == [WriteChunk(NOTICE, 0, chunk(0))]
    assert Deliver(NOTICE) in harness.written(0)


def test_several_providers_share_the_work_within_their_bounds():
    harness = Harness()
    harness.begin(P, Q)
    assert {peer: len(asked) for peer, asked in harness.open_requests().items()} == {P: 8, Q: 8}
    asked = [index for _, index in requests(harness.all)]
    assert len(set(asked)) == 16


def test_the_order_is_random_and_the_seed_decides_it():
    def order(seed):
        harness = Harness(seed=seed)
        harness.begin(P)
        finish(harness, P)
        return [index for _, index in requests(harness.all)]

    assert order(1) == order(1) != order(2)
    assert order(1) != sorted(order(1))


@given(st.sets(st.integers(0, 19)))
def test_a_resumed_fetch_asks_exactly_for_what_is_missing(present):
    harness = Harness()
    harness.begin(P, present=present)
    finish(harness, P)
    assert sorted(index for _, index in requests(harness.all)) == sorted(set(range(20)) - present)
    assert Deliver(NOTICE) in harness.all


def test_a_silent_provider_is_dropped_and_its_chunks_go_to_others():
    harness = Harness()
    harness.begin(P, Q)
    owed = harness.open_requests()[P]
    harness.clock.move(4.0)
    for index in harness.open_requests()[Q]:
        harness.chunk(Q, index)
        harness.written(index)
    assert not harness.on(on.Tick())
    harness.clock.move(1.5)  # P is silent for 5.5 s, Q for 1.5
    assert DropStream(P, NOTICE.id) in harness.on(on.Tick())
    finish(harness, Q)
    assert set(owed) <= {index for peer, index in requests(harness.all) if peer == Q}
    assert harness.all[-1] == Deliver(NOTICE)
    assert not any(isinstance(one, Blame) for one in harness.all), "silence is no fault"


def test_a_provider_that_never_tells_leaves_is_dropped():
    harness = Harness()
    harness.on(on.Wanted(NOTICE))
    harness.on(on.ProviderFound(P, NOTICE.id))
    harness.clock.move(6.0)
    assert harness.on(on.Tick()) == [DropStream(P, NOTICE.id)]
    assert not harness.machine.active()


def test_a_provider_with_nothing_to_do_is_not_silent():
    harness = Harness()
    harness.begin(P, Q, R)  # 24 places for 20 chunks: R has 4
    finish(harness, R)
    harness.clock.move(4.9)
    for peer in (P, Q):
        harness.chunk(peer, harness.open_requests()[peer][0])
    harness.clock.move(3.0)
    assert not [one for one in harness.on(on.Tick()) if isinstance(one, DropStream)]


def test_a_lost_stream_returns_its_chunks_and_a_new_offer_is_welcome():
    harness = Harness()
    harness.begin(P)
    harness.on(on.StreamLost(P, NOTICE.id))
    assert harness.on(on.ProviderFound(P, NOTICE.id)) == [OpenStream(P, NOTICE.id)]
    assert len(requests(harness.leaves(P))) == 8, "leaves are known: no second hashing"
    finish(harness, P)
    assert harness.all[-1] == Deliver(NOTICE)


LIES = {
    "wrong hash": (
        lambda harness: harness.chunk(P, harness.open_requests()[P][0], b"no"),
        "blob.hash",
    ),
    "unasked": (
        lambda harness: harness.chunk(P, (set(range(20)) - set(harness.open_requests()[P])).pop()),
        "blob.unasked",
    ),
    "from somebody else": (
        lambda harness: harness.chunk(Q, harness.open_requests()[P][0]),
        "blob.unasked",
    ),
    "leaves again": (lambda harness: harness.leaves(P), "blob.unasked"),
}


@pytest.mark.parametrize(("lie", "code"), LIES.values(), ids=LIES.keys())
def test_a_lie_convicts_the_relay_and_it_is_not_asked_again(lie, code):
    harness = Harness()
    harness.begin(P)
    effects = lie(harness)
    liar = effects[0].peer
    assert effects[:2] == [Blame(liar, code), DropStream(liar, NOTICE.id)]
    assert harness.on(on.ProviderFound(liar, NOTICE.id)) == []
    harness.on(on.ProviderFound(R, NOTICE.id))
    harness.leaves(R)
    finish(harness, P, R)
    assert harness.all[-1] == Deliver(NOTICE)


@pytest.mark.parametrize(
    "leaves", [(), LEAVES[:-1], (*LEAVES, LEAVES[0]), (bytes(32), *LEAVES[1:]), LEAVES[::-1]]
)
def test_leaves_that_are_not_the_signed_ones_convict_the_relay(leaves):
    harness = Harness()
    harness.on(on.Wanted(NOTICE))
    harness.on(on.ProviderFound(P, NOTICE.id))
    assert harness.leaves(P, leaves)[:1] == [Blame(P, "blob.leaves")]


def test_a_size_that_the_author_made_up_is_given_up_without_blame():
    notice = notice_of(PAYLOAD, author("alice"), payload_bytes=len(PAYLOAD) - 1)
    harness = Harness(notice)
    harness.begin(P, present=range(19))
    assert harness.chunk(P, 19) == [GiveUp(notice, "payload.size"), DropStream(P, notice.id)]
    assert not harness.machine.downloads


def test_open_transfers_and_remembered_wishes_are_bounded():
    harness = Harness(transfers_max=2, reserved=0, downloads_max=5)
    notices = [notice_of(b"%d" % i, author("alice"), seq=i) for i in range(9)]
    for notice in notices:
        harness.on(on.Wanted(notice))
        harness.on(on.ProviderFound(P, notice.id))
    assert len(harness.machine.downloads) == 5
    opened = [one.patch for one in harness.all if isinstance(one, OpenStream)]
    assert opened == [one.id for one in notices[:2]]
    # A payload whose only provider is gone gives its place to the next one.
    assert harness.on(on.StreamLost(P, notices[0].id)) == [OpenStream(P, notices[2].id)]
    assert harness.on(on.Settled(notices[1].id)) == [
        DropStream(P, notices[1].id),
        OpenStream(P, notices[3].id),
    ]


def test_two_patches_of_one_payload_are_fetched_one_after_the_other():
    twin = notice_of(PAYLOAD, author("bob"))
    harness = Harness()
    harness.on(on.Wanted(twin))
    harness.begin(P)
    assert harness.on(on.ProviderFound(Q, twin.id)) == []
    finish(harness, P)
    assert harness.on(on.Settled(NOTICE.id)) == [OpenStream(Q, twin.id)]


def test_providers_of_one_payload_are_bounded():
    harness = Harness(providers_max=2)
    harness.on(on.Wanted(NOTICE))
    for peer in (P, Q, R):
        harness.on(on.ProviderFound(peer, NOTICE.id))
    assert [one.peer for one in harness.all] == [P, Q]
    assert harness.on(on.StreamLost(P, NOTICE.id)) == [OpenStream(R, NOTICE.id)]


def test_what_comes_for_a_payload_that_is_done_is_ignored():
    harness = Harness()
    assert harness.chunk(P, 0) == harness.leaves(P) == harness.written(0) == []
    assert harness.on(on.ProviderFound(P, NOTICE.id)) == []


def test_a_chunk_that_is_late_is_asked_of_who_has_nothing_better_to_do():
    harness = Harness(in_flight=20)
    harness.begin(P, Q)
    held = harness.open_requests()[P]
    assert len(held) == 20
    assert harness.open_requests()[Q] == []
    harness.clock.move(1.1)
    harness.on(on.Tick())
    assert harness.open_requests()[Q] == held
    finish(harness, Q)
    assert harness.all[-1] == Deliver(NOTICE)
    assert len([one for one in harness.all if isinstance(one, WriteChunk)]) == 20


def test_a_second_copy_is_no_lie_and_is_not_written_again():
    harness = Harness(in_flight=20)
    harness.begin(P, Q)
    harness.clock.move(1.1)
    harness.on(on.Tick())
    assert harness.chunk(Q, 3)[0] == WriteChunk(NOTICE, 3, chunk(3))
    assert harness.chunk(P, 3) == []
    assert not any(isinstance(one, Blame) for one in harness.all)


def test_who_was_silent_is_asked_again_later_and_without_a_new_offer():
    harness = Harness()
    harness.begin(P)
    harness.clock.move(5.5)
    assert harness.on(on.Tick()) == [DropStream(P, NOTICE.id)]
    harness.clock.move(4.0)
    assert harness.on(on.Tick()) == []
    assert harness.on(on.ProviderFound(P, NOTICE.id)) == []
    harness.clock.move(5.0)
    assert harness.on(on.Tick()) == [OpenStream(P, NOTICE.id)]
    assert len(requests(harness.leaves(P))) == 8
    finish(harness, P)
    assert harness.all[-1] == Deliver(NOTICE)


def test_when_all_streams_are_taken_slow_ones_make_room():
    harness = Harness(providers_max=2)
    harness.begin(P, Q)
    harness.on(on.ProviderFound(R, NOTICE.id))
    harness.clock.move(4.5)
    harness.chunk(Q, harness.open_requests()[Q][0])
    assert harness.on(on.Tick())[:2] == [DropStream(P, NOTICE.id), OpenStream(R, NOTICE.id)]


def test_the_authors_device_is_asked_beside_all_others():
    harness = Harness(providers_max=2)
    harness.begin(P, Q)
    own = NOTICE.body.device
    assert harness.on(on.ProviderFound(own, NOTICE.id)) == [OpenStream(own, NOTICE.id)]


def test_a_peer_that_left_is_not_asked():
    harness = Harness()
    harness.on(on.ProviderFound(P, NOTICE.id))
    harness.begin()
    harness.on(on.ProviderFound(P, NOTICE.id))
    harness.on(on.PeerLeft(P))
    assert harness.on(on.StreamLost(P, NOTICE.id)) == []
    assert not harness.machine.downloads[NOTICE.id].providers


def test_a_payload_whose_turn_is_over_goes_on_later_where_it_was():
    harness = Harness(transfers_max=1, reserved=0)
    harness.begin(P)
    other = notice_of(b"other", author("bob"))
    harness.on(on.Wanted(other))
    harness.on(on.ProviderFound(Q, other.id))
    for _ in range(3):  # four chunks now and then: never silent, never slow
        assert not [one for one in harness.on(on.Tick()) if isinstance(one, DropStream)]
        for index in harness.open_requests()[P][:4]:
            harness.chunk(P, index)
            harness.written(index)
        harness.clock.move(3.5)
    assert harness.on(on.Tick()) == [DropStream(P, NOTICE.id), OpenStream(Q, other.id)]
    assert harness.on(on.Settled(other.id)) == [DropStream(Q, other.id), OpenStream(P, NOTICE.id)]
    asked = len(requests(harness.all))
    assert not [one for one in harness.leaves(P) if isinstance(one, Rehash)]
    finish(harness, P)
    assert len(requests(harness.all)) - asked == 8, "twelve are here"
    assert harness.all[-1] == Deliver(NOTICE)


def test_wishes_for_strangers_are_bounded_and_never_keep_out_a_friends():
    harness = Harness(downloads_max=6, strangers_max=5, stranger_max=3, transfers_max=1)
    wish = {
        name: [notice_of(b"%s %d" % (name.encode(), i), author(name), seq=i) for i in range(9)]
        for name in ("mallory", "bob", "alice")
    }
    for name in ("mallory", "bob"):
        for notice in wish[name]:
            harness.on(on.Wanted(notice))
            harness.on(on.ProviderFound(P, notice.id))
    held = list(harness.machine.downloads.values())
    assert [one.author for one in held].count(author("mallory").author) == 3
    assert len(held) == 5
    for notice in wish["alice"]:
        harness.on(on.Wanted(notice, trusted=True))
    kept = harness.machine.downloads
    assert len(kept) == 6
    assert sum(one.trusted for one in kept.values()) == 5, "all but the one that has a place"


def test_a_promise_that_nobody_keeps_makes_room_for_the_next():
    harness = Harness(stranger_max=2)
    first, second, third = (notice_of(b"%d" % i, author("m"), seq=i) for i in range(3))
    for notice in (first, second, third):
        harness.on(on.Wanted(notice))  # nobody says that he has it
    assert list(harness.machine.downloads) == [second.id, third.id]
