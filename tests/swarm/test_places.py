"""Places are given in turns, and never all of them to strangers."""

from dataclasses import replace

from hivelearn.swarm import places
from hivelearn.swarm.download import Download, ProviderStream
from hivelearn.swarm.limits import SwarmLimits
from hivelearn.swarm.patience import Patience
from hivelearn.testing.folder_store import author, notice_of

P, Q = b"p" * 32, b"q" * 32
LIMITS = SwarmLimits(transfers_max=4, reserved=2, turn_s=10.0)


def wanted(name, number=0, *, trusted=False, providers=(P,), turns=0):
    notice = notice_of(f"{name} {number}".encode(), author(name), seq=number)
    return Download(notice, trusted, providers=dict.fromkeys(providers), turns=turns)


def seated(name, number=0, *, trusted=False, since=0.0, busy=0):
    one = wanted(name, number, trusted=trusted)
    one.streams[P] = ProviderStream(since, since, busy_bytes=busy, ready=True, asked={0: since})
    one.turn_began = since
    return one


def chosen(*downloads, patience=None, now=100.0, limits=LIMITS):
    return [
        downloads.index(one)
        for one in places.seat(downloads, patience or Patience(limits), limits, now)
    ]


def leaving(*downloads, patience=None, now=100.0):
    found = places.over(downloads, patience or Patience(LIMITS), LIMITS, now)
    return [downloads.index(one) for one in found]


def test_strangers_never_have_the_reserved_places():
    many = [wanted("mallory", number) for number in range(9)]
    assert chosen(*many) == [0, 1]
    assert chosen(*many, wanted("alice", trusted=True)) == [9, 0, 1]
    taken = [seated("mallory", number) for number in range(2)]
    assert chosen(*taken, *many[2:]) == []


def test_friends_may_have_all_places():
    friends = [wanted("alice", number, trusted=True) for number in range(9)]
    assert chosen(*friends) == [0, 1, 2, 3]


def test_a_node_with_few_places_hears_strangers_all_the_same():
    few = replace(LIMITS, transfers_max=2)
    assert chosen(wanted("mallory"), wanted("bob"), limits=few) == [0]


def test_each_strange_author_gets_one_place_before_any_gets_two():
    crowd = [wanted("mallory", number) for number in range(9)]
    assert chosen(*crowd, wanted("bob")) == [0, 9]


def test_who_had_fewer_turns_goes_first():
    assert chosen(wanted("mallory", turns=3), wanted("bob"), wanted("carol", turns=1)) == [1, 2]


def test_who_kept_us_waiting_is_passed_over_but_a_friend_does_not_answer_for_relays():
    patience = Patience(LIMITS)
    patience.lose(author("mallory").author, 99.0)
    patience.lose(author("alice").author, 99.0)
    patience.lose(Q, 99.0)
    downloads = (
        wanted("mallory"), wanted("bob", providers=(Q,)), wanted("carol", providers=(Q, P)),
        wanted("alice", trusted=True),
    )  # fmt: skip
    assert chosen(*downloads, patience=patience) == [3, 2]


def test_the_authors_own_device_is_asked_first_then_who_kept_us_waiting_least():
    patience = Patience(LIMITS)
    own, quick, slow = author("alice").device, b"2" * 32, b"1" * 32
    patience.lose(slow, 0.0)
    patience.regain(quick, 1)
    one = wanted("alice", trusted=True, providers=(slow, P, quick, own))
    assert places.askable(one, patience, 100.0) == [own, quick, P, slow]
    one.streams[own] = ProviderStream(0.0, 0.0)
    assert places.askable(one, patience, 1.0) == [quick, P], "the others are not asked yet"


def test_while_nobody_waits_everybody_may_be_slow():
    assert leaving(seated("mallory"), seated("alice", trusted=True)) == []


def test_when_others_wait_whoever_sends_too_little_gives_way_before_the_turn_is_over():
    slow, fast = seated("mallory", since=94.0), seated("bob", since=94.0, busy=1 << 20)
    assert leaving(slow, fast, wanted("carol")) == [0]
    assert leaving(slow, fast, wanted("carol"), now=104.0) == [0], "as many as wait"
    assert leaving(fast, wanted("carol"), now=104.0) == [0]


def test_an_authors_first_payload_does_not_wait_for_his_second_unless_it_is_slow():
    fast, slow = seated("bob", busy=1 << 30), seated("bob", 1)
    assert leaving(fast, wanted("bob", 2)) == []
    assert leaving(slow, wanted("bob", 2)) == [0]


def test_a_stranger_takes_no_place_of_a_friend_and_a_friend_takes_any():
    friend, stranger = seated("alice", trusted=True), seated("mallory")
    assert leaving(friend, wanted("bob")) == []
    assert leaving(friend, stranger, wanted("bob", trusted=True)) == [1]
    assert leaving(friend, wanted("bob", trusted=True)) == [0]


def same_payload(*authors, trusted=()):
    """Return downloads of one payload that several authors have signed."""
    return [
        Download(notice_of(b"one payload", author(name)), name in trusted, providers={P: None})
        for name in authors
    ]


def test_a_payload_that_a_stranger_signed_too_does_not_hold_up_the_friends():
    stolen, friends = same_payload("mallory", "alice", trusted=("alice",))
    stolen.streams[P] = ProviderStream(99.9, 99.9, ready=True, asked={0: 99.9})
    stolen.turn_began = 99.9  # it came a moment ago, and is quick
    assert leaving(stolen, friends) == [0]
    stolen.streams.clear()
    assert chosen(stolen, friends) == [1]


def test_two_strangers_with_one_payload_take_turns():
    one, other = same_payload("mallory", "bob")
    one.streams[P] = ProviderStream(99.9, 99.9, ready=True, asked={0: 99.9})
    one.turn_began = 95.0
    assert leaving(one, other) == []
    one.turn_began = 80.0
    assert leaving(one, other) == [0]


def test_a_friends_payload_keeps_its_place_before_a_strangers_record_of_it():
    friends, stolen = same_payload("alice", "mallory", trusted=("alice",))
    friends.streams[P] = ProviderStream(0.0, 0.0, ready=True, asked={0: 0.0})
    assert leaving(friends, stolen) == []


def test_a_relay_that_drips_a_friends_old_patches_does_not_hold_up_the_new_one():
    old = [seated("alice", n, trusted=True, since=80.0) for n in range(4)]
    for one in old:  # quick enough, and its turn is over
        one.streams[P] = ProviderStream(99.9, 99.9, ready=True, asked={0: 99.9})
        one.turns = 1
    new = wanted("alice", 9, trusted=True)
    assert leaving(*old, new) == [0]
    had = wanted("alice", 8, trusted=True, turns=1)
    assert leaving(*old, had) == []
