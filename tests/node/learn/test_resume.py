"""A paused training goes on with what it began with; only what makes that wrong ends it."""

from dataclasses import replace

import pytest

from hivelearn.errors import UsageError
from hivelearn.node.ask.ask import correct
from hivelearn.node.config import NodeConfig
from hivelearn.node.context import open_context
from hivelearn.node.learn import resume, train


@pytest.fixture
def taught(make, kit):
    def get(name="home", **settings):
        node = make(name, **settings)
        kit.teach(node, "yes", "yes yes")
        return node

    return get


def pause(node, recipe, after=3):
    """Train so many steps and stop, as a background run that ends does."""
    context, asked = node.context, []

    def stop(_seconds):
        asked.append(1)
        return len(asked) == after

    patch, report = train.train(context, "yes", recipe, context.config.safety, stop)
    assert patch is None
    return report


def learn_more(node, kit, n, right="yes yes"):
    """Correct ``n`` further questions on the training side."""
    return [
        node.correct(text, right, domain="yes")
        for text in kit.prompts("another yes", n, held=False)
    ]


def bytes_of(patch):
    return patch.adapter.to_bytes()


def test_newer_corrections_wait_and_the_paused_training_ends_bit_equal(taught, kit):
    expected = bytes_of(taught("whole").train("yes"))
    node = taught("corrected meanwhile")
    pause(node, kit.TINY)
    learn_more(node, kit, 1)
    assert pause(node, kit.TINY).newer == 1  # at the second pause, too
    learn_more(node, kit, 3)
    assert bytes_of(node.train("yes")) == expected
    report = node.last_training
    assert (report.newer, report.corrections, report.anew) == (3, 16, "")
    assert "; 3 newer corrections wait for the next training" in str(report)
    node.train("yes")
    assert (node.last_training.corrections, node.last_training.newer) == (19, 0)


def test_an_answer_corrected_again_waits_as_well(taught, kit):
    expected = bytes_of(taught("whole").train("yes"))
    node = taught("second thoughts")
    pause(node, kit.TINY)
    node.correct(kit.prompts("yes", 1, held=False)[0], "no, no", domain="yes")
    assert bytes_of(node.train("yes")) == expected
    assert "; 1 newer correction waits" in str(node.last_training)
    node.train("yes")
    assert (node.last_training.corrections, node.last_training.newer) == (16, 0)


def test_a_forgotten_correction_ends_it_and_is_not_learnt_from(taught, kit, caplog):
    without = taught("without")
    without.corrections.forget(without.corrections.list()[0].id)
    expected = bytes_of(without.train("yes"))
    node = taught("forgetful")
    pause(node, kit.TINY)
    with node.context.store.writing("forget"):  # as beside a training that saves once more
        node.context.journal.forget(correction=node.corrections.list()[0].id)
    assert bytes_of(node.train("yes")) == expected
    why = "1 of its corrections was forgotten since"
    assert node.last_training.anew == why
    assert str(node.last_training).endswith(f"; begun anew: {why}")
    assert why in caplog.text


def test_what_is_forgotten_takes_the_paused_training_that_knew_it_along(taught, kit):
    node = taught()
    pause(node, kit.TINY)
    learn_more(node, kit, 1)
    newest = node.corrections.list()[-1]
    assert node.corrections.forget(newest.id).trainings == ()  # that one it had not met
    assert node.corrections.forget(node.corrections.list()[0].id).trainings == ("yes",)
    assert node.context.checkpoints.paused() == ()


def lone_judge(node, kit):
    """Correct one question that its hash holds out."""
    return node.correct(kit.prompts("yes", 1, held=True)[0], "yes yes", domain="yes")


def test_the_only_correction_of_a_domain_is_learnt_from(make, kit):
    node = make()
    assert lone_judge(node, kit).holdout
    node.train("yes")
    assert (node.last_training.corrections, node.last_training.adopted) == (1, True)
    assert "no correction is held out" in str(node.last_training)


def test_with_a_second_one_it_judges_again_and_what_learnt_from_it_begins_anew(make, kit):
    node = make()
    lone_judge(node, kit)
    pause(node, kit.TINY)
    node.correct(kit.prompts("yes", 1, held=False)[0], "yes yes", domain="yes")
    node.train("yes")
    assert node.last_training.anew == "1 of its corrections was held out to judge by since"
    assert node.last_training.corrections == 1


def test_corrections_that_all_judge_are_counted_when_there_is_nothing_to_learn(make, kit):
    node = make()
    for text in kit.prompts("yes", 2, held=True):
        node.correct(text, "yes yes", domain="yes")
    with pytest.raises(UsageError, match="2 corrections in 'yes', held out to judge by: add more"):
        node.train("yes")


def test_another_recipe_begins_anew_and_the_report_names_what_changed(taught, kit, caplog):
    other = replace(kit.TINY, steps=5)
    expected = bytes_of(taught("whole").train("yes", other))
    node = taught()
    pause(node, kit.TINY)
    assert bytes_of(node.train("yes", other)) == expected
    assert node.last_training.anew == "the recipe has changed: steps 8 → 5"
    assert "begins anew: the recipe has changed: steps 8 → 5" in caplog.text


def test_there_is_news_until_all_that_stands_was_learnt_to_the_end(taught, kit):
    node = taught()

    def news():
        return resume.has_news(node.context, "yes")

    assert not resume.has_news(node.context, "nothing ever said")
    assert news()
    pause(node, kit.TINY)
    learn_more(node, kit, 1)
    node.train("yes")
    assert news()  # what came while it rested, although it came before its end
    node.train("yes")
    assert not news()
    node.correct(kit.prompts("yes", 1, held=True)[0], "yes yes", domain="yes")
    assert not news()  # held out: nothing to learn from
    (again,) = learn_more(node, kit, 1, "better")
    assert news()
    node.train("yes")
    assert not news()
    node.corrections.forget(again.id)
    assert news()  # what was learnt from it is to be unlearnt


def outside(node, text, domain="yes"):
    """Correct as a process does that never opens the model."""
    context = open_context(node.context.folder, NodeConfig(home=node.home))
    return correct(context, text, "yes yes", domain=domain)


def test_a_correction_longer_than_the_context_is_left_out_of_training_and_named(
    taught, kit, caplog
):
    expected = bytes_of(taught("without").train("yes"))
    node = taught()
    long = outside(node, "word " * 400)
    assert not long.holdout
    assert bytes_of(node.train("yes")) == expected
    assert str(node.last_training).endswith("; 1 correction does not fit the model")
    assert f"correction {long.id[:8]} is left out: the conversation has" in caplog.text
    assert not resume.has_news(node.context, "yes")  # nor is it news every time
    assert "yes: left out, because they do not fit this model: 1" in str(node.status())
    caplog.clear()
    node.train("yes")
    assert "left out" not in caplog.text  # said once
    node.corrections.forget(long.id)
    assert node.status().domains[0].left_out == 0


def test_where_nothing_fits_the_reason_is_told(make):
    node = make()
    outside(node, "word " * 400)
    with pytest.raises(UsageError, match=r"no correction to train on in 'yes' fits.*takes 256"):
        node.train("yes")


def test_one_correction_that_does_not_fit_stops_no_other_domain(make, kit, author):
    node = make()
    texts = (f"note {i} " + "long " * 400 for i in range(99))
    assert any(outside(node, text, "notes").holdout for text in texts)
    kit.teach(node, "no", "no", 4, 24)
    node.vouch(author[0].key)
    assert kit.send(author[1], node)
    report = node.merge("yes")
    assert report.outcome == "admitted"
    assert report.others["no"].n == 24


def test_what_does_not_fit_an_open_model_is_refused_when_it_is_said(make):
    node = make()
    with pytest.raises(UsageError, match="the model takes 256") as refused:
        node.correct("word " * 400, "yes", domain="yes")
    assert "longer context" in refused.value.remedy
    with pytest.raises(UsageError, match="the model takes 256"):
        node.ask("yes?", max_new_tokens=1).correct("word " * 400, domain="yes")
    assert len(node.corrections) == 0
