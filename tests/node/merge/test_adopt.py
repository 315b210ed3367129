"""What a person decides after a report: adopt, adopt an own patch, or go back."""

import json

import pytest

from hivelearn.errors import UsageError
from hivelearn.node import reputation
from hivelearn.node.ask import experts
from hivelearn.node.merge.adopt import NoCandidateError
from hivelearn.store.errors import NothingToRollBackError, StaleGenerationError
from hivelearn.testing.hostile import changed, forged, shelf_state
from hivelearn.testing.models import small_model


def test_a_candidate_waits_and_is_adopted_once(kit, author, beginner):
    owner, patch = author
    node = beginner()
    node.vouch(owner.key)
    kit.send(patch, node)
    report = node.merge("yes", adopt=False)
    assert report.outcome == "candidate"
    assert not report
    assert "node.adopt(report)" in str(report)
    assert shelf_state(node, patch) == "quarantined"
    assert node.status().domains[0].generation == 1
    done = node.adopt(report)
    assert (done.outcome, done.generation, done.candidate) == ("adopted", 2, None)
    assert shelf_state(node, patch) == "merged"
    assert node.ask("What is yes 1?", "yes").text  # its blob outlived the candidate
    with pytest.raises(NoCandidateError) as caught:
        node.adopt(report)
    assert "adopt=False" in caught.value.remedy


def test_a_candidate_of_an_admission_waits_too(make, kit, author):
    owner, patch = author
    node = make()
    node.vouch(owner.key)
    kit.send(patch, node)
    report = node.merge("yes", adopt=False)
    assert report.outcome == "candidate"
    question = kit.prompts("yes", 1, held=True)[0]
    assert node.ask(question, max_new_tokens=1).route.mode == "base"
    assert node.adopt(report).outcome == "admitted"
    assert shelf_state(node, patch) == "admitted"
    assert node.ask(question, max_new_tokens=1).route.mode == "routed"


def test_a_stale_candidate_is_refused(kit, author, beginner):
    owner, patch = author
    node = beginner()
    node.vouch(owner.key)
    kit.send(patch, node)
    report = node.merge("yes", adopt=False)
    node.merge("yes")
    with pytest.raises(StaleGenerationError):
        node.adopt(report)
    assert node.status().domains[0].generation == 2


def test_rollback_walks_back_through_merge_and_training(kit, author, beginner):
    owner, patch = author
    node = beginner()
    trained = node.context.generations.current(node.base, "yes").specialist
    node.vouch(owner.key)
    kit.send(patch, node)
    node.merge("yes")
    assert node.rollback("yes").specialist == trained
    assert node.ask("What is yes 1?", "yes").route.experts == (trained.patch.hex(),)
    assert node.rollback("yes").specialist is None
    assert node.ask("What is yes 1?", "yes").route.mode == "base"
    with pytest.raises(NothingToRollBackError):
        node.rollback("yes")


def test_an_expert_refused_later_is_off_the_panel_even_after_a_rollback(make, kit, author):
    owner, patch = author
    node = make()
    node.vouch(owner.key)
    kit.send(patch, node)
    node.merge("yes")
    kit.teach(node, "yes", "yes yes", 16)
    node.train("yes")
    context = node.context
    with context.store.writing("refuse it"):
        context.shelf.move(patch.id, "refused", reason="its author was found out")
    ids = {expert.about.id for expert in experts.current(context).experts}
    assert patch.id.hex() not in ids
    assert len(ids) == 1
    node.rollback("yes")
    assert experts.current(context).experts == ()
    with pytest.raises(UsageError, match="not here"):
        node.ask("x", experts=[patch.id.hex()])


def test_an_own_sealed_patch_is_adopted_if_it_measures_better(kit, author, beginner):
    owner, patch = author
    node = beginner()
    good = node.seal(patch.adapter, domain="yes", licence="MIT")
    report = node.adopt(good)
    assert report.outcome == "adopted"
    assert node.ask("What is yes 1?", "yes").route.experts == (good.id.hex(),)
    worse = node.seal(changed(patch, lambda b: b * 1e-3), domain="yes")
    assert node.adopt(worse).outcome == "no lift"
    with pytest.raises(UsageError, match="only one's own"):
        node.adopt(patch)
    with pytest.raises(UsageError, match="what = 'report'"):
        node.adopt("report")
    assert owner.name in str(owner)


def test_an_own_patch_loaded_from_a_folder_serves_in_another_home(make, kit, author, tmp_path):
    """The same author on the same machine, the shelf lost: it must not name what is not there."""
    from hivelearn.patch import envelope

    owner, patch = author
    patch.save(tmp_path / "saved")
    loaded = envelope.Patch.load(tmp_path / "saved", now_s=kit.NOW_S)
    node = make("restored")
    node.context.identity = owner.context.identity
    assert node.adopt(loaded).outcome == "adopted"
    assert node.ask("What is yes 1?", "yes", max_new_tokens=2).route.mode == "stated"


def test_a_patch_of_another_base_is_refused_whoever_made_it(make, author, tmp_path):
    owner, patch = author
    node = make("other", model=small_model(tmp_path / "base", seed=9))
    for _ in ("another author's", "one's own"):
        with pytest.raises(UsageError, match=r"made for base model"):
            node.adopt(patch)
        node.context.identity = owner.context.identity


def test_a_lost_payload_is_nobodys_fault_and_stops_nothing(make, kit, author):
    owner, patch = author
    node = make()
    node.vouch(owner.key)
    second = forged(owner, patch, lambda b: b * 0.9)
    for each in (patch, second):
        kit.send(each, node)
    context = node.context
    context.blobs.path(patch.body.payload_root.hex()).unlink()
    report = node.merge("yes")
    assert report.outcome == "admitted"
    codes = {j.patch: j.verdict.code for j in report.patches}
    assert codes == {patch.id.hex(): "payload.lost", second.id.hex(): "fit.harmless"}
    assert reputation.standings(context, "yes") == {}


def test_a_crash_while_judging_leaves_everything_where_it_was(make, kit, author, monkeypatch):
    owner, patch = author
    node = make()
    node.vouch(owner.key)
    kit.send(patch, node)
    store = node.context.store

    def full(_):
        raise OSError("no space")

    with monkeypatch.context() as broken:
        broken.setattr(store.generations, "commit", full)
        with pytest.raises(OSError, match="no space"):
            node.merge("yes")
    assert shelf_state(node, patch) == "quarantined"
    assert node.merge("yes").outcome == "admitted"


def test_reports_are_text_json_and_html(kit, author, beginner):
    owner, patch = author
    node = beginner()
    node.vouch(owner.key)
    kit.send(patch, node)
    report = node.merge("yes")
    plain = json.loads(report.to_json())
    assert plain["outcome"] == "adopted"
    assert plain["own"]["n"] == 24
    assert plain["patches"][0]["verdict"]["code"] == "fit.better"
    assert str(report.own) in report._repr_html_()
    assert node.merge("nothing-here").why == "nothing arrived"
    assert "nothing to judge" in str(node.merge("nothing-here"))


def test_vouching_for_oneself_or_for_no_key_is_refused(make):
    node = make()
    with pytest.raises(UsageError, match="own key"):
        node.vouch(node.key)
    with pytest.raises(UsageError):
        node.vouch("amber-otter-7f3a")
