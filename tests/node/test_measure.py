"""What a node measures with, and that it measures nothing twice."""

from dataclasses import replace

import pytest

from hivelearn.inference import general_texts
from hivelearn.inference.nano import tasks
from hivelearn.node import measure
from hivelearn.node.node import Node


class Meter:
    """An engine that counts whose losses it was asked for: (base or adapter, part) to rows."""

    def __init__(self, engine):
        self._engine, self.rows = engine, {}

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def losses(self, examples, adapter, part):
        key = ("base" if adapter is None else "adapter", part)
        self.rows[key] = self.rows.get(key, 0) + len(examples)
        return self._engine.losses(examples, adapter, part)

    @property
    def total(self):
        return sum(self.rows.values())


def metered(node):
    """Count from now on what the node asks of its engine."""
    meter = Meter(node.context.engine)
    vars(node.context)["engine"] = meter
    return meter


def judged(node, kit, author):
    """Let a node meet the author's expert; return what that cost."""
    owner, patch = author
    node.vouch(owner.key)
    kit.send(patch, node)
    meter = metered(node)
    assert node.merge("yes").outcome == "admitted"
    return meter


def test_an_expert_costs_one_pass_over_each_text(make, kit, author):
    meter = judged(make(base_texts=30), kit, author)
    fitted, judging = 30, 30
    assert meter.rows["adapter", "prompt"] == fitted + judging
    assert meter.rows["base", "prompt"] == fitted + judging
    assert meter.rows["base", "answer"] == judging
    assert meter.rows.get(("adapter", "answer"), 0) <= judging // 10  # of what it takes


def test_what_the_home_knows_is_not_measured_again(make, kit, author):
    judged(make(), kit, author)
    again = make()  # another process, the same home
    again.rollback("yes")
    meter = metered(again)
    assert again.merge("yes").outcome == "admitted"
    assert meter.total == 0


def test_of_another_domain_a_sample_is_measured_always_the_same(make, kit, author):
    node = make()
    kit.teach(node, "mine", "yes yes", 1, 60)
    meter = judged(node, kit, author)
    rows = meter.rows["adapter", "prompt"]
    assert rows == 24 + 24 + measure.SAMPLE
    probes = measure.probes(node.context, "yes")
    assert len(probes.others["mine"]) == measure.SAMPLE
    assert set(probes.others["mine"]) < set(measure.holdout(node.context, "mine"))


def test_a_copy_with_another_scale_is_not_taken_for_what_was_measured(make, kit, author):
    node, (owner, patch) = make(), author
    judged(node, kit, author)
    meter = metered(node)
    louder = owner.seal(replace(patch.adapter, alpha=2 * patch.adapter.alpha), domain="yes")
    assert louder.body.payload_root == patch.body.payload_root
    kit.send(louder, node)
    node.merge("yes")
    assert meter.rows["adapter", "prompt"] >= 24


def test_what_people_ask_leaves_nothing_on_the_disk(make, kit, author):
    node = make()
    judged(node, kit, author)
    before = (node.context.home.path / "measured.bin").read_bytes()
    node.ask("What is my neighbour's secret?", max_new_tokens=1)
    node.score([("What is my neighbour's secret?", "none")])
    assert (node.context.home.path / "measured.bin").read_bytes() == before


def test_what_is_forgotten_leaves_no_digest(make, kit):
    node = make()
    kit.teach(node, "mine", "yes yes", 16, 24)
    node.train("mine", kit.TINY)
    assert (node.context.home.path / "measured.bin").exists()
    node.corrections.forget(domain="mine")
    assert not (node.context.home.path / "measured.bin").exists()


def test_nineteen_held_out_make_no_claim_and_twenty_do(make, kit):
    for held, claims in ((19, False), (20, True)):
        node = make(str(held))
        kit.teach(node, "yes", "yes yes", 24, held)
        patch = node.train("yes", replace(kit.TINY, steps=16))
        assert (patch.body.card is not None) == claims
        question = kit.prompts("yes", 1, held=True)[0]
        assert node.ask(question, max_new_tokens=1).route.mode == ("routed" if claims else "base")
        assert node.ask(question, "yes", max_new_tokens=1).route.mode == "stated"


@pytest.mark.parametrize("count", [1, 24])
def test_general_texts_are_what_people_ask_and_never_both_fitted_and_judging(make, count):
    context = make(base_texts=count).context
    judging = {row.tokens for row in measure.general(context)}
    texts = {
        context.engine.encoder.pair(t.prompt, t.answer).tokens
        for t in general_texts.judge_harm(count)
    }
    assert judging == texts


def test_the_nano_model_is_judged_by_its_own_tasks(tmp_path):
    context = Node(home=tmp_path / "home", base_texts=2, progress=False).context
    wanted = [context.engine.encoder.pair(i.question, i.answer) for i in tasks.held_out(2, 0)]
    assert measure.general(context) == wanted
