"""Those who teach one subject go on from one trunk, and no part of it leaves what it should not."""

import json
from dataclasses import replace

import pytest
import torch

from hivelearn.node import own_records
from hivelearn.node.trunk.grow import Company, in_company
from hivelearn.patch.adapter import Adapter
from hivelearn.store.trunks import KEPT


def test_the_same_parts_make_the_same_trunk_on_every_node(play):
    nodes = play.friends(3)
    reports = play.around(*nodes)
    assert [report.outcome for report in reports] == ["grown"] * 3
    assert len({report.trunk for report in reports}) == 1
    assert {report.height for report in reports} == {1}
    # Told to each other, they are known: nobody takes up what it has.
    play.exchange(*nodes)
    assert all(play.turn(node).outcome != "taken up" for node in nodes)


def test_rounds_go_on_from_each_other_and_get_better(play):
    nodes = play.friends(3)
    rounds = [play.around(*nodes) for _ in range(3)]
    assert [report.height for report, *_ in rounds] == [1, 2, 3]
    losses = [report.loss for report, *_ in rounds]
    assert losses[0] > losses[1] > losses[2]
    assert rounds[-1][0].parts == 9
    assert len({report.trunk for report in rounds[-1]}) == 1


def test_a_trunk_serves_only_where_it_measures_better(play):
    nodes = play.friends(2, steps=6)
    (first, _), *_ = play.around(*nodes), play.around(*nodes)
    served = [generation for node in nodes for generation in node.context.serving()]
    assert served, "nothing was better than the base"
    for generation in served:
        assert "trunk" in generation.why
    assert first.served.own.low > 0


def test_what_arrives_for_a_round_is_no_patch_for_a_merge(play):
    nodes = play.friends(2)
    for node in nodes:
        play.turn(node)
    play.exchange(*nodes)
    assert nodes[0].merge("yes").why == "nothing arrived"
    assert nodes[0].context.on_shelf("quarantined") == ()


def test_who_waits_for_the_others_goes_on_when_patience_is_over(play):
    nodes = play.friends(2, patience_s=600.0)
    waiting, other = nodes
    assert play.turn(waiting).outcome == "waiting"
    play.turn(other)
    play.exchange(*nodes)
    assert play.turn(waiting, present=2).outcome == "waiting"  # for one more who is here
    assert play.turn(waiting, present=1).outcome == "grown"


def test_a_node_by_itself_makes_no_trunk_of_its_own_parts(play):
    (alone,) = play.friends(1, patience_s=0.0)
    assert [play.turn(alone).outcome for _ in range(3)] == ["alone"] * 3
    assert play.rounds(alone).trunk is None
    assert not in_company(alone.context, "yes", Company())
    assert in_company(alone.context, "yes", Company(None, 1))


def test_who_comes_three_rounds_late_takes_up_what_the_others_have_come_to(play, make):
    *early, late = play.friends(3)
    for _ in range(3):
        play.around(*early)
    play.exchange(*early, late)
    report = play.turn(late)
    assert (report.outcome, report.height) == ("taken up", 3)
    assert report.trunk == play.turn(early[0]).trunk
    play.around(*early, late)
    # It does not know what the step before was, so it made a trunk without momentum.
    for _ in range(3):
        play.exchange(*early, late)
        for node in (*early, late):
            play.turn(node)
    assert len({play.rounds(node).id for node in (*early, late)}) == 1


def test_a_late_part_is_taken_for_what_it_adds_to_its_own_trunk(play):
    *early, late = play.friends(3, patience_s=0.0)
    play.turn(late)
    (part,) = play.own(late)
    play.around(*early)
    play.exchange(*early, late)  # its part was trained onto the model itself
    report = play.turn(early[0])
    assert (report.outcome, len(report.authors)) == ("grown", 2)
    made_of = json.loads(play.rounds(early[0]).trunk.made_of)
    assert made_of[part.body.payload_root.hex()] == 250_000  # half of its half


def test_two_trunks_that_grew_apart_join_again(play):
    nodes = play.friends(4)
    one, other = nodes[:2], nodes[2:]
    for _ in range(2):
        play.around(*one)
        play.around(*other)
    assert len({play.rounds(node).id for node in nodes}) == 2
    for turns in range(12):
        play.exchange(*nodes)
        for node in nodes:  # at times patience is over for those on the other side
            play.turn(node, patience_s=600.0 if turns % 3 else 0.0)
        if len({play.rounds(node).id for node in nodes}) == 1:
            break
    else:
        pytest.fail("they did not join")


def test_a_node_that_was_closed_goes_on_where_it_was(play, make):
    nodes = play.friends(2)
    play.around(*nodes)
    play.turn(nodes[0])
    part = play.own(nodes[0])
    nodes[0].close()
    again = make("friend0", rounds=nodes[0].config.rounds)
    assert play.rounds(again).id == play.rounds(nodes[1]).id
    play.turn(again)
    assert {patch.id for patch in play.own(again)} == {patch.id for patch in part}


def test_what_a_round_is_over_for_leaves_the_shelf_and_the_disk(play):
    nodes = play.friends(2)
    held = []
    for _ in range(10):
        play.around(*nodes)
        context = nodes[0].context
        rows = [e for e in context.shelf.list(domain="yes") if e.state != "refused"]
        held.append((len(rows), len(list(context.home.blobs.glob("*/*")))))
        kept = [trunk.payload for trunk in context.store.trunks.history(context.base, "yes")]
        assert sum(each is not None for each in kept) <= KEPT
    assert held[-1] <= held[-2] <= held[-3]


def test_new_corrections_wake_a_trunk_that_rests(play, kit, monkeypatch):
    nodes = play.friends(2)
    play.around(*nodes)
    monkeypatch.setattr("hivelearn.node.trunk.grow.all_gained", bool)
    assert play.turn(nodes[0]).outcome == "resting"
    nodes[0].correct("And a new one?", "yes yes", domain="yes")
    assert play.turn(nodes[0]).outcome == "waiting"
    assert play.turn(nodes[1]).outcome == "resting"
    play.exchange(*nodes)  # what one has learnt is worth a round of all
    assert play.turn(nodes[1]).outcome == "grown"


def _changed(patch, factor):
    factors = {name: (a, b * factor) for name, (a, b) in patch.adapter.factors.items()}
    return replace(patch.adapter, factors=factors)


HARM = {
    "the other way": lambda patch: _changed(patch, -3.0),
    "a hundred times": lambda patch: _changed(patch, 100.0),
    "noise": lambda patch: replace(
        patch.adapter,
        factors={
            name: (torch.randn_like(a), torch.randn_like(b))
            for name, (a, b) in patch.adapter.factors.items()
        },
    ),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM.keys())
@pytest.mark.parametrize("height", [0, 1])
def test_a_friends_part_that_harms_makes_no_trunk_worse(play, kit, harm, height):
    torch.manual_seed(0)
    nodes = play.friends(4)
    for _ in range(height):
        play.around(*nodes)
    for node in nodes:
        play.turn(node)
    *honest, hostile = nodes
    with hostile.context.store.writing("harm"):
        (part,) = [p for p in play.own(hostile) if not p.body.descent.parts
                   and p.body.descent.height == height]  # fmt: skip
        bad = own_records.sign(hostile.context, harm(part), "yes", descent=part.body.descent)
        hostile.context.shelf.retire(part.id, "harm")
    before = play.rounds(honest[0]).loss(play.rounds(honest[0]).adapter)
    play.exchange(*nodes)
    reports = [play.turn(node) for node in honest]
    for node, report in zip(honest, reports, strict=True):
        assert report.outcome == "grown"
        made_of = json.loads(play.rounds(node).trunk.made_of)
        assert made_of.get(bad.body.payload_root.hex(), 0) < 20_000  # of a million
        assert len(made_of) >= 3
    assert reports[0].loss < before


def test_a_strangers_part_moves_a_trunk_by_a_twentieth_at_most(play, make, kit):
    nodes = play.friends(2)
    stranger = make("stranger", rounds=nodes[0].config.rounds)
    play.teach(stranger, 9)
    for node in (*nodes, stranger):
        play.turn(node)
    root = play.own(stranger)[0].body.payload_root
    play.exchange(*nodes, stranger)
    play.turn(nodes[0])
    made_of = json.loads(play.rounds(nodes[0]).trunk.made_of)
    assert made_of[root.hex()] <= 50_000
    assert sum(made_of.values()) >= 900_000


def test_nobody_takes_up_a_strangers_trunk(play, make):
    nodes = play.friends(2)
    stranger, helper = make("s1", rounds=nodes[0].config.rounds), make("s2")
    play.teach(stranger, 8)
    play.teach(helper, 9)
    stranger.vouch(helper.key)
    helper.vouch(stranger.key)
    play.around(stranger, helper)
    play.exchange(stranger, *nodes)
    assert play.turn(nodes[0]).outcome != "taken up"


def test_a_friends_trunk_that_is_worse_is_not_taken_up_whatever_it_claims(play, kit):
    nodes = play.friends(3)
    for _ in range(2):
        play.around(*nodes)
    *honest, hostile = nodes
    trunk = next(p for p in play.own(hostile) if p.body.descent.parts)
    claim = replace(trunk.body.descent, parts_before=2**30, height=2**30)
    bad = Adapter(
        {name: (a, -b) for name, (a, b) in trunk.adapter.factors.items()},
        trunk.adapter.rank,
        trunk.adapter.alpha,
        trunk.adapter.base,
    )
    with hostile.context.store.writing("boast"):
        boast = own_records.sign(hostile.context, bad, "yes", descent=claim)
    before = play.rounds(honest[0]).id
    kit.send(boast, honest[0])
    assert play.turn(honest[0]).outcome != "taken up"
    assert play.rounds(honest[0]).id == before or play.rounds(honest[0]).height == 3


def test_who_does_not_teach_fetches_no_parts(play, make, kit):
    teacher, other = *play.friends(1), make("listener")
    other.vouch(teacher.key)
    play.turn(teacher)
    (part,) = play.own(teacher)
    assert not kit.send(part, other)


def test_a_strangers_records_onto_nothing_known_do_not_stay(play, make, kit):
    nodes = play.friends(2)
    stranger = make("stranger", rounds=nodes[0].config.rounds)
    play.teach(stranger, 9)
    play.turn(stranger)
    (part,) = play.own(stranger)
    claim = replace(part.body.descent, onto=b"x" * 32, height=2**30)
    with stranger.context.store.writing("boast"):
        boast = own_records.sign(stranger.context, part.adapter, "yes", descent=claim)
    assert kit.send(boast, nodes[0])
    play.around(*nodes)
    assert nodes[0].context.shelf.get(boast.id).state == "refused"


def test_the_status_tells_how_the_rounds_went(play):
    nodes = play.friends(2)
    for _ in range(2):
        play.around(*nodes)
    (domain,) = nodes[0].status().domains
    assert (domain.rounds.height, domain.rounds.parts, len(domain.rounds.losses)) == (2, 4, 2)
    assert "yes: trunk 2" in str(nodes[0].status())


def test_what_is_forgotten_may_be_in_parts_that_others_have(play):
    nodes = play.friends(2)
    play.around(*nodes)
    forgotten = nodes[0].corrections.forget(domain="yes")
    assert len(forgotten.patches) == len(play.own(nodes[0])) > 0


def test_the_facade_takes_a_turn(play):
    (alone,) = play.friends(1, patience_s=0.0)
    report = alone.grow("yes")
    assert (report.outcome, bool(report), report.height) == ("alone", False, 0)
    assert json.loads(report.to_json())["outcome"] == "alone"
    assert "alone" in str(report)
