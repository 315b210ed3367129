"""What trust no longer covers stops serving, in sight, and can be had back by asking."""

import json
from dataclasses import replace

import pytest

from hivelearn.errors import UsageError
from hivelearn.identity import full_name
from hivelearn.node import reputation
from hivelearn.node.merge.adopt import NoCandidateError
from hivelearn.store.errors import StaleGenerationError
from hivelearn.testing.hostile import shelf_state
from hivelearn.trust.beta import Beta
from hivelearn.trust.standing import Standing


@pytest.fixture
def admitted(make, kit, author):
    """A node that vouched for ``author``, whose expert serves "yes"."""
    owner, patch = author
    node = make()
    node.vouch(owner.key, "met in person")
    kit.send(patch, node)
    assert node.merge("yes").outcome == "admitted"
    return node


def mode(node, kit):
    return node.ask(kit.prompts("yes", 1, held=True)[0], max_new_tokens=1).route.mode


def test_an_expert_whom_nobody_speaks_for_stops_serving_at_once(admitted, kit, author):
    owner, patch = author
    assert mode(admitted, kit) == "routed"
    (serves,) = admitted.unvouch(owner.key)
    assert (serves.domain, serves.number, serves.experts) == ("yes", 2, ())
    assert serves.why == f"no vouch for {owner.name} any more"
    assert mode(admitted, kit) == "base"
    assert shelf_state(admitted, patch) == "quarantined"
    assert admitted.status().domains[0].serves == "base model"
    assert admitted.merge("yes").outcome == "no lift"  # judged like any stranger's
    assert shelf_state(admitted, patch) == "sandboxed"


def test_its_owner_can_have_it_back_by_a_rollback_or_by_vouching_and_merging(admitted, kit, author):
    owner, patch = author
    admitted.unvouch(owner.key)
    assert [e.patch for e in admitted.rollback("yes").experts] == [patch.id]
    assert shelf_state(admitted, patch) == "admitted"
    assert mode(admitted, kit) == "routed"
    assert admitted.trust.rows[0].standing == "unknown"
    assert admitted.rollback("yes").experts == ()  # that of the admission
    admitted.vouch(owner.key)
    assert admitted.merge("yes").outcome == "admitted"


def test_whom_their_work_speaks_for_needs_no_vouch(admitted, kit, author):
    owner, patch = author
    kit.prove(admitted, patch.body.author, "yes")
    assert admitted.unvouch(owner.key) == ()
    assert mode(admitted, kit) == "routed"
    assert admitted.trust.rows[0].standing == "proven"


def test_experts_on_another_base_model_stop_serving_too(admitted, author):
    owner, _ = author
    store, other = admitted.context.store, b"o" * 32
    now = store.generations.current(admitted.base, "yes")
    with store.writing("another model"):
        store.generations.commit(replace(now, base=other))
    assert [serves.base for serves in admitted.unvouch(owner.key)] == sorted([admitted.base, other])
    assert store.generations.current(other, "yes").experts == ()


def test_a_candidate_made_of_it_is_given_up(make, kit, author):
    owner, patch = author
    node = make()
    node.vouch(owner.key)
    kit.send(patch, node)
    report = node.merge("yes", adopt=False)
    assert report.outcome == "candidate"
    assert node.unvouch(owner.key) == ()
    with pytest.raises(NoCandidateError):
        node.adopt(report)
    assert shelf_state(node, patch) == "quarantined"


def test_a_vouch_withdrawn_while_a_merge_is_judged_ends_it(make, kit, author, monkeypatch):
    from hivelearn.gate import rules

    owner, patch = author
    node = make()
    node.vouch(owner.key)
    kit.send(patch, node)
    judge = rules.judge_expert

    def meanwhile(*given, **how):
        node.unvouch(owner.key)
        return judge(*given, **how)

    monkeypatch.setattr(rules, "judge_expert", meanwhile)
    with pytest.raises(StaleGenerationError, match="lost this node's trust"):
        node.merge("yes")
    assert mode(node, kit) == "base"
    assert shelf_state(node, patch) == "quarantined"


def test_what_was_merged_stays_and_can_be_rolled_back(kit, author, beginner):
    owner, patch = author
    node = beginner()
    node.vouch(owner.key)
    kit.send(patch, node)
    assert node.merge("yes").outcome == "adopted"
    assert node.unvouch(owner.key) == ()
    assert shelf_state(node, patch) == "merged"
    assert node.rollback("yes").undoes == 2
    assert shelf_state(node, patch) == "sandboxed"


def test_only_a_vouch_that_stands_can_be_withdrawn(admitted, author):
    owner, _ = author
    with pytest.raises(UsageError, match="no vouch for"):
        admitted.unvouch(full_name(b"x" * 32))
    admitted.unvouch(owner.key)
    with pytest.raises(UsageError, match="no vouch for"):
        admitted.unvouch(owner.key)


def test_the_table_of_trust_says_who_how_much_and_why(make):
    node = make()
    assert "nobody is known yet" in str(node.trust)
    friend, former, stranger = (full_name(bytes([n]) * 32) for n in (1, 2, 3))
    node.vouch(friend, "met <in person>")
    node.vouch(former)
    node.unvouch(former)
    with node.context.store.writing("judge"):
        harmed = Standing(bytes([3]) * 32, Beta(bad=4.0), harms=1)
        reputation.remember(node.context, [harmed])
    table = node.trust
    first, *others = table.rows
    assert first.key == friend
    assert (first.standing, first.note, first.withdrawn_s) == ("vouched", "met <in person>", None)
    assert first.weight == pytest.approx(0.2)
    assert first.why == "Vouched; as much as one author may have (20%)."
    assert {row.standing for row in others} == {"unknown"}
    # Of the seat of 5 % for authors without proof; the friend is one, too.
    assert [row.weight for row in others] == pytest.approx([0.025, 0.0])
    by_key = {row.key: row for row in table.rows}
    assert by_key[former].withdrawn_s is not None
    assert by_key[stranger].harms == 1
    assert "withdrawn 2023-11-14" in str(table)
    assert all(row.key in str(table) for row in table.rows)
    assert "met &lt;in person&gt;" in table._repr_html_()
    rows = json.loads(table.to_json())["rows"]
    assert [row["key"] for row in rows] == [row.key for row in table.rows]
