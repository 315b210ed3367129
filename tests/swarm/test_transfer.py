"""Fetching: what is asked of whom, and what happens to those who do not deliver."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivelearn.patch.chunks import CHUNK_BYTES, leaves_of
from hivelearn.swarm import partial, transfer
from hivelearn.swarm.effects import Blame, Complete, Drop, GiveUp, Open, Rehash, Request, Write
from hivelearn.swarm.limits import Limits
from hivelearn.testing.clock import HandClock
from hivelearn.testing.shelf import author, notice_of

PAYLOAD = random.Random(0).randbytes(19 * CHUNK_BYTES + 5)  # 20 chunks
LEAVES = tuple(leaves_of(PAYLOAD))
NOTICE = notice_of(PAYLOAD, author("alice"))
P, Q, R = b"p" * 32, b"q" * 32, b"r" * 32


class Desk:
    """A transfer with a clock; remembers every effect."""

    def __init__(self, notice=NOTICE, seed=0, **limits):
        self.machine = transfer.Transfer(random.Random(seed), Limits(**limits))
        self.clock, self.notice, self.all = HandClock(0.0), notice, []

    def on(self, event):
        effects = transfer.step(self.machine, event, self.clock())
        self.all += effects
        return effects

    def begin(self, *peers, present=()):
        self.on(transfer.Wanted(self.notice))
        for peer in peers:
            self.on(transfer.Provider(peer, self.notice.id))
        for peer in peers:
            self.leaves(peer)
        return self.on(transfer.Present(self.notice.id, frozenset(present)))

    def leaves(self, peer, leaves=LEAVES):
        return self.on(transfer.LeavesCame(peer, self.notice.id, leaves))

    def chunk(self, peer, index, data=None):
        data = chunk(index) if data is None else data
        return self.on(transfer.ChunkCame(peer, self.notice.id, index, data))

    def written(self, index):
        return self.on(transfer.Written(self.notice.id, index))

    def open_requests(self):
        blob = self.machine.blobs[self.notice.id]
        return {peer: sorted(source.asked) for peer, source in blob.sources.items()}


def chunk(index):
    return PAYLOAD[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]


def requests(effects):
    return [(one.peer, one.index) for one in effects if isinstance(one, Request)]


def finish(desk, *peers):
    """Let ``peers`` answer all that is asked of them."""
    for _ in range(1_000):
        blob = desk.machine.blobs.get(desk.notice.id)
        todo = [(p, i) for p in peers for i in desk.open_requests().get(p, [])] if blob else []
        if not todo:
            return
        desk.chunk(*todo[0])
        desk.written(todo[0][1])


def test_leaves_come_first_then_the_file_is_hashed_then_chunks_are_asked():
    desk = Desk()
    assert desk.on(transfer.Wanted(NOTICE)) == []
    assert desk.on(transfer.Provider(P, NOTICE.id)) == [Open(P, NOTICE.id)]
    assert desk.leaves(P) == [Rehash(NOTICE, LEAVES)]
    asked = requests(desk.on(transfer.Present(NOTICE.id, frozenset())))
    assert len(asked) == Limits().in_flight


def test_each_chunk_is_asked_once_and_all_end_written():
    desk = Desk()
    desk.begin(P, Q)
    finish(desk, P, Q)
    counts = Counter(index for _, index in requests(desk.all))
    assert counts == Counter(range(20))
    assert {one.index for one in desk.all if isinstance(one, Write)} == set(range(20))
    assert desk.all[-1] == Complete(NOTICE)
    assert desk.machine.active(), "the library is taking it"
    assert desk.chunk(Q, 3) == desk.leaves(Q) == [], "what is late is no lie"
    assert desk.begin(P) == [], "and nobody fetches it a second time meanwhile"
    desk.on(transfer.Over(NOTICE.id))
    assert not desk.machine.blobs
    assert not desk.machine.active()


def test_it_is_complete_only_when_the_last_chunk_is_written():
    desk = Desk()
    desk.begin(P, present=range(1, 20))
    assert desk.chunk(P, 0) == [Write(NOTICE, 0, chunk(0))]
    assert Complete(NOTICE) in desk.written(0)


def test_several_providers_share_the_work_within_their_bounds():
    desk = Desk()
    desk.begin(P, Q)
    assert {peer: len(asked) for peer, asked in desk.open_requests().items()} == {P: 8, Q: 8}
    asked = [index for _, index in requests(desk.all)]
    assert len(set(asked)) == 16


def test_the_order_is_random_and_the_seed_decides_it():
    def order(seed):
        desk = Desk(seed=seed)
        desk.begin(P)
        finish(desk, P)
        return [index for _, index in requests(desk.all)]

    assert order(1) == order(1) != order(2)
    assert order(1) != sorted(order(1))


@given(st.sets(st.integers(0, 19)))
def test_a_resumed_fetch_asks_exactly_for_what_is_missing(present):
    desk = Desk()
    desk.begin(P, present=present)
    finish(desk, P)
    assert sorted(index for _, index in requests(desk.all)) == sorted(set(range(20)) - present)
    assert Complete(NOTICE) in desk.all


def test_a_silent_provider_is_dropped_and_its_chunks_go_to_others():
    desk = Desk()
    desk.begin(P, Q)
    owed = desk.open_requests()[P]
    desk.clock.move(4.0)
    for index in desk.open_requests()[Q]:
        desk.chunk(Q, index)
        desk.written(index)
    assert not desk.on(transfer.Tick())
    desk.clock.move(1.5)  # P is silent for 5.5 s, Q for 1.5
    assert Drop(P, NOTICE.id) in desk.on(transfer.Tick())
    finish(desk, Q)
    assert set(owed) <= {index for peer, index in requests(desk.all) if peer == Q}
    assert desk.all[-1] == Complete(NOTICE)
    assert not any(isinstance(one, Blame) for one in desk.all), "silence is no fault"


def test_a_provider_that_never_tells_leaves_is_dropped():
    desk = Desk()
    desk.on(transfer.Wanted(NOTICE))
    desk.on(transfer.Provider(P, NOTICE.id))
    desk.clock.move(6.0)
    assert desk.on(transfer.Tick()) == [Drop(P, NOTICE.id)]
    assert not desk.machine.active()


def test_a_provider_with_nothing_to_do_is_not_silent():
    desk = Desk()
    desk.begin(P, Q, R)  # 24 places for 20 chunks: R has 4
    finish(desk, R)
    desk.clock.move(4.9)
    for peer in (P, Q):
        desk.chunk(peer, desk.open_requests()[peer][0])
    desk.clock.move(3.0)
    assert not [one for one in desk.on(transfer.Tick()) if isinstance(one, Drop)]


def test_a_lost_stream_returns_its_chunks_and_a_new_offer_is_welcome():
    desk = Desk()
    desk.begin(P)
    desk.on(transfer.StreamLost(P, NOTICE.id))
    assert desk.on(transfer.Provider(P, NOTICE.id)) == [Open(P, NOTICE.id)]
    assert len(requests(desk.leaves(P))) == 8, "leaves are known: no second hashing"
    finish(desk, P)
    assert desk.all[-1] == Complete(NOTICE)


LIES = {
    "wrong hash": (lambda desk: desk.chunk(P, desk.open_requests()[P][0], b"no"), "blob.hash"),
    "unasked": (
        lambda desk: desk.chunk(P, (set(range(20)) - set(desk.open_requests()[P])).pop()),
        "blob.unasked",
    ),
    "from somebody else": (lambda desk: desk.chunk(Q, desk.open_requests()[P][0]), "blob.unasked"),
    "leaves again": (lambda desk: desk.leaves(P), "blob.unasked"),
}


@pytest.mark.parametrize(("lie", "code"), LIES.values(), ids=LIES.keys())
def test_a_lie_convicts_the_relay_and_it_is_not_asked_again(lie, code):
    desk = Desk()
    desk.begin(P)
    effects = lie(desk)
    liar = effects[0].peer
    assert effects[:2] == [Blame(liar, code), Drop(liar, NOTICE.id)]
    assert desk.on(transfer.Provider(liar, NOTICE.id)) == []
    desk.on(transfer.Provider(R, NOTICE.id))
    desk.leaves(R)
    finish(desk, P, R)
    assert desk.all[-1] == Complete(NOTICE)


@pytest.mark.parametrize(
    "leaves", [(), LEAVES[:-1], (*LEAVES, LEAVES[0]), (bytes(32), *LEAVES[1:]), LEAVES[::-1]]
)
def test_leaves_that_are_not_the_signed_ones_convict_the_relay(leaves):
    desk = Desk()
    desk.on(transfer.Wanted(NOTICE))
    desk.on(transfer.Provider(P, NOTICE.id))
    assert desk.leaves(P, leaves)[:1] == [Blame(P, "blob.leaves")]


def test_a_size_that_the_author_made_up_is_given_up_without_blame():
    notice = notice_of(PAYLOAD, author("alice"), payload_bytes=len(PAYLOAD) - 1)
    desk = Desk(notice)
    desk.begin(P, present=range(19))
    assert desk.chunk(P, 19) == [GiveUp(notice, "payload.size"), Drop(P, notice.id)]
    assert not desk.machine.blobs


def test_open_transfers_and_remembered_wishes_are_bounded():
    desk = Desk(transfers_max=2, blobs_max=5)
    notices = [notice_of(b"%d" % i, author("alice"), seq=i) for i in range(9)]
    for notice in notices:
        desk.on(transfer.Wanted(notice))
        desk.on(transfer.Provider(P, notice.id))
    assert len(desk.machine.blobs) == 5
    opened = [one.patch for one in desk.all if isinstance(one, Open)]
    assert opened == [one.id for one in notices[:2]]
    # A payload whose only provider is gone gives its place to the next one.
    assert desk.on(transfer.StreamLost(P, notices[0].id)) == [Open(P, notices[2].id)]
    assert desk.on(transfer.Over(notices[1].id)) == [
        Drop(P, notices[1].id),
        Open(P, notices[3].id),
    ]


def test_two_patches_of_one_payload_are_fetched_one_after_the_other():
    twin = notice_of(PAYLOAD, author("bob"))
    desk = Desk()
    desk.on(transfer.Wanted(twin))
    desk.begin(P)
    assert desk.on(transfer.Provider(Q, twin.id)) == []
    finish(desk, P)
    assert desk.on(transfer.Over(NOTICE.id)) == [Open(Q, twin.id)]


def test_providers_of_one_payload_are_bounded():
    desk = Desk(providers_max=2)
    desk.on(transfer.Wanted(NOTICE))
    for peer in (P, Q, R):
        desk.on(transfer.Provider(peer, NOTICE.id))
    assert [one.peer for one in desk.all] == [P, Q]
    assert desk.on(transfer.StreamLost(P, NOTICE.id)) == [Open(R, NOTICE.id)]


def test_what_comes_for_a_payload_that_is_done_is_ignored():
    desk = Desk()
    assert desk.chunk(P, 0) == desk.leaves(P) == desk.written(0) == []
    assert desk.on(transfer.Provider(P, NOTICE.id)) == []


# -- the partial file ---------------------------------------------------------


def test_rehashing_finds_exactly_the_right_chunks(tmp_path):
    path = tmp_path / "deep" / "x.partial"
    assert partial.rehash(path, LEAVES) == frozenset()
    for index in (4, 0, 19):
        partial.write(path, index, chunk(index))
    assert partial.rehash(path, LEAVES) == {0, 4, 19}
    torn = path.read_bytes()[: 4 * CHUNK_BYTES + 100]
    path.write_bytes(torn)
    assert partial.rehash(path, LEAVES) == {0}


def test_sealing_cuts_what_lies_behind_the_end(tmp_path):
    path = tmp_path / "x.partial"
    partial.write(path, 0, b"payload and leftovers")
    partial.seal(path, 7)
    assert path.read_bytes() == b"payload"
