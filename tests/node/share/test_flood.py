"""Whoever floods the sandbox, a newcomer gets a place in it and is judged soon."""

from dataclasses import replace

import pytest

from hivelearn import identity
from hivelearn.node.config import NodeConfig
from hivelearn.node.reputation import MADE_WAY
from hivelearn.node.share.quota import Place, make_way
from hivelearn.patch.envelope import Label, seal
from hivelearn.testing.hostile import shelf_state

MERGES_MAX = 4  # 6 places of a relay, 2 turns a merge, and one merge to make room


@pytest.fixture
def judge(make, kit):
    """A node that can judge "yes" and has nothing there yet."""
    node = make("judge", base_texts=2, sandbox_per_relay=6, strangers_per_merge=2)
    kit.teach(node, "yes", "yes yes", 1, 20)
    return node


@pytest.fixture
def patch_of(author, kit):
    """Return a function to a small useless patch, signed by the key of this number."""
    _, patch = author
    module, (a, b) = next(iter(patch.adapter.factors.items()))

    def get(number, of=0):
        key = number.to_bytes(32, "big")
        factors = {module: (a, b * (0.01 + 1e-4 * number + 1e-3 * of))}
        label = Label(domain="yes", base=patch.body.base, seq=of + 1, prev=None, now_s=kit.NOW_S)
        return seal(
            replace(patch.adapter, factors=factors), label, identity.make(key, key, kit.NOW_S)
        )

    return get


def was_judged(node, patch):
    entry = node.context.shelf.get(patch.id)
    return entry is not None and entry.verdict is not None and "trust.waits" not in entry.verdict


def merges_until_judged(kit, node, newcomer, offer):
    """Return how many merges it takes, while ``offer`` floods before each of them."""
    for merges in range(1, 2 * MERGES_MAX):
        offer(merges)
        kit.send(newcomer, node)  # refused for want of room or not: it is told of again
        node.merge("yes")
        if was_judged(node, newcomer):
            return merges
    return None


def test_one_key_holds_few_places_and_a_newcomer_is_judged_at_once(judge, kit, patch_of, author):
    def offer(round_):
        for of in range(12):
            kit.send(patch_of(1, 100 * round_ + of), judge)

    assert merges_until_judged(kit, judge, author[1], offer) == 1
    held = judge.context.shelf.list(author=patch_of(1).body.author, state="sandboxed")
    assert 0 < len(held) <= judge.config.sandbox_per_author


def test_many_keys_behind_one_relay_do_not_shut_out_another(judge, kit, patch_of, author):
    def offer(round_):
        for key in range(9):
            kit.send(patch_of(100 * round_ + key), judge, relay=b"r" * 32)

    assert merges_until_judged(kit, judge, author[1], offer) == 1
    assert judge.status().shelf["sandboxed"] <= judge.config.sandbox_per_relay + 1


def test_behind_the_same_relay_a_newcomer_waits_a_bounded_time(judge, kit, patch_of, author):
    for key in range(9):
        kit.send(patch_of(1 + key), judge, relay=b"r" * 32)
    merges = 0
    while not was_judged(judge, author[1]):
        merges += 1
        assert merges <= MERGES_MAX
        kit.send(author[1], judge, relay=b"r" * 32)
        judge.merge("yes")


def test_a_full_sandbox_makes_way_for_who_was_never_heard(make, kit, patch_of, author):
    node = make("small", sandbox_max=4, sandbox_per_relay=4, strangers_per_merge=1, base_texts=2)
    kit.teach(node, "yes", "yes yes", 1, 20)
    crowd = [patch_of(1, of) for of in range(4)]
    for patch in crowd:
        assert kit.send(patch, node)
    node.merge("yes")
    (measured,) = [patch for patch in crowd if was_judged(node, patch)]
    assert kit.send(author[1], node)
    assert shelf_state(node, measured) == "refused"
    assert not node.context.blobs.has(measured.body.payload_root.hex())
    assert not kit.send(measured, node)  # it is not fetched again and again


def test_what_made_way_may_come_again_when_somebody_vouches_for_its_author(
    make, kit, patch_of, author
):
    owner, patch = author
    node = make("small", sandbox_max=1, base_texts=2)
    kit.send(patch, node)
    node.merge("yes")  # unmeasured here
    assert kit.send(patch_of(1), node)
    assert node.context.shelf.get(patch.id).reason == MADE_WAY.why
    assert not kit.send(patch, node)
    node.vouch(owner.key)
    assert kit.send(patch, node)
    assert node.merge("yes").outcome == "admitted"


def place(author, relay="r", *, measured=False, helpful=False, nbytes=1, number=0):
    names = author.encode(), relay.encode(), f"{author}{number}".encode()
    return Place(names[2].hex(), *names[:2], nbytes, names[2], measured, helpful)


SMALL = NodeConfig(
    sandbox_max=4, sandbox_per_author=3, sandbox_per_relay=4, sandbox_max_bytes=10
)  # fmt: skip
# what is taken, who wants a place, who makes way (None: nobody, and there is no place)
CASES = {
    "there is room": ([place("a"), place("b")], place("c"), []),
    "an author's own measured one": (
        [place("a", measured=True), place("a", number=1), place("a", number=2)],
        place("a", number=3),
        ["a0"],
    ),
    "an author whose patches all wait for their turn": (
        [place("a", number=n) for n in range(3)],
        place("a", number=3),
        None,
    ),
    "what helped stays, what did not goes": (
        [place("a", measured=True, helpful=True), place("b", measured=True), *map(place, "cd")],
        place("e"),
        ["b0"],
    ),
    "the largest crowd, the newest first": (
        [place(c, "crowd") for c in "abcd"],
        place("e", "alone"),
        ["d0"],
    ),
    "of one relay, the author with most": (
        [place("a", number=n) for n in range(3)] + [place("b")],
        place("c"),
        ["a2"],
    ),
    "equals make way for nobody": ([place(c, c) for c in "abcd"], place("e", "e"), None),
    "bytes": ([place("a", measured=True, nbytes=9)], place("b", nbytes=5), ["a0"]),
    "bytes that nothing can free": ([place("a", nbytes=9)], place("b", nbytes=5), None),
    "more than all": ([place("a", measured=True, nbytes=9)], place("b", nbytes=11), None),
    "what a crowd has promised, for who promised nothing yet": (
        [replace(place(c, "crowd"), patch=None) for c in "abcd"],
        place("e", "alone"),
        ["d0"],
    ),
    "what lies half-fetched, first": (
        [replace(place("a", n), lying=True) for n in "xy"] + [place(c, "crowd") for c in "bc"],
        place("e", "alone"),
        ["a0"],
    ),
    "a relay's share of the bytes": (
        [place("a", nbytes=8)],
        place("b", nbytes=4),
        None,
    ),
}


@pytest.mark.parametrize(("taken", "wanted", "leaves"), CASES.values(), ids=CASES.keys())
def test_who_makes_way_for_whom(taken, wanted, leaves):
    found = make_way(wanted, taken, SMALL)
    names = None if found is None else [bytes.fromhex(p.payload).decode() for p in found]
    assert names == leaves
