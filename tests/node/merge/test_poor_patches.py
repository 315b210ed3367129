"""A patch gets what it adds to what serves: poor ones pull nothing down and veto nobody."""

from dataclasses import replace

import pytest
import torch

from hivelearn.testing.hostile import changed


def noise(patch, seed):
    chance = torch.Generator().manual_seed(seed)

    def drawn(b):
        made = torch.randn(b.shape, generator=chance)
        return made * b.norm() / made.norm()

    return changed(patch, drawn)


@pytest.fixture(scope="module")
def wrong(kit, folder, tmp_path_factory):
    """An update that has learnt the form of an answer and a wrong one: better than the base."""
    from hivelearn.node.node import Node

    home = tmp_path_factory.mktemp("wrong") / "home"
    environment = kit.Stage().environment()
    node = Node(folder, home=home, environment=environment, device="cpu", progress=False)
    kit.teach(node, "yes", "no no", 24)
    return node.train("yes", replace(kit.TINY, steps=3)).adapter


# The k-th of three, made from an honest patch; the first two beat the base by far.
HARMFUL = {
    "better than the base, worse than what serves": lambda patch, kit, wrong, k: kit.distinct(
        patch.adapter, 50 + k, share=1.5
    ),
    "learnt from wrong answers": lambda patch, kit, wrong, k: kit.distinct(wrong, k, share=0.3),
    "ten times as large": lambda patch, kit, wrong, k: changed(patch, lambda b: b * (10 - 0.1 * k)),
    "the sign turned": lambda patch, kit, wrong, k: changed(patch, lambda b: -b * (1 + 0.1 * k)),
    "noise of their size": lambda patch, kit, wrong, k: noise(patch, k),
}


@pytest.fixture
def specialist(make, kit, author):
    """Return a function to a node that serves the author's patch, scaled, and can judge."""

    def get(name, scale):
        node = make(name, base_texts=2)
        kit.teach(node, "yes", "yes yes", 1, 24)
        own = changed(author[1], lambda b: b * scale)
        assert node.adopt(node.seal(own, domain="yes")).outcome == "adopted"
        return node

    return get


def befriended(make, kit, node, adapters):
    """Bring these to a node, each from a friend of its own."""
    for number, adapter in enumerate(adapters):
        friend = make(f"friend-{number}")
        node.vouch(friend.key)
        assert kit.send(kit.sign(friend, adapter), node)


def loss(node, kit):
    pairs = [(prompt, "yes yes") for prompt in kit.prompts("yes", 24, held=True)]
    return sum(node.score(pairs, "yes")) / len(pairs)


@pytest.mark.parametrize("harm", HARMFUL.values(), ids=HARMFUL.keys())
def test_three_harmful_friends_of_five_do_not_veto_the_other_two(
    make, kit, author, wrong, specialist, harm
):
    _, patch = author
    honest = [kit.distinct(patch.adapter, k, share=0.2) for k in range(2)]
    harmful = [harm(patch, kit, wrong, k) for k in range(3)]
    gained = []
    for name, adapters in (("alone", honest), ("beside", [*honest, *harmful])):
        node = specialist(name, 0.5)
        befriended(make, kit, node, adapters)
        before = loss(node, kit)
        assert node.merge("yes").outcome == "adopted"
        gained.append(before - loss(node, kit))
    alone, beside = gained
    assert alone > 0
    assert beside >= 0.8 * alone


def test_four_honest_but_weaker_friends_do_not_pull_a_strong_specialist_down(
    make, kit, author, specialist
):
    _, patch = author
    node = specialist("strong", 1.0)
    befriended(make, kit, node, [kit.distinct(patch.adapter, 50 + k, 1.5) for k in range(4)])
    before = loss(node, kit)
    assert node.merge("yes").own.mean >= 0
    assert loss(node, kit) <= before


def test_several_tiny_experts_elsewhere_make_no_honest_patch_too_large(make, kit, author):
    _, patch = author
    node = make("judge", base_texts=2)
    kit.teach(node, "yes", "yes yes", 1, 24)
    half = changed(patch, lambda b: b * 0.5)
    assert node.adopt(node.seal(half, domain="yes")).outcome == "adopted"
    for k in range(4):
        tiny = make(f"tiny{k}")
        node.vouch(tiny.key)
        small = kit.distinct(changed(patch, lambda b: b * 0.01), 70 + k)
        kit.send(kit.sign(tiny, small, "elsewhere"), node)
    assert node.merge("elsewhere").outcome == "admitted"
    honest = make("honest")
    node.vouch(honest.key)
    kit.send(kit.sign(honest, kit.distinct(patch.adapter, 1, share=0.2)), node)
    report = node.merge("yes")
    assert [judged.verdict.code for judged in report.patches] != ["norm.module"]
    assert report.outcome == "adopted"
