"""The first story: corrections become a patch, whatever interrupts."""

import json
import math
from dataclasses import replace

import pytest
import torch

from hivelearn.errors import UsageError
from hivelearn.inference.general_texts import claims_stay_above
from hivelearn.store.errors import WriterBusyError
from hivelearn.training.optimizer import DivergedError


@pytest.fixture
def taught(make, kit):
    def get(name="home", stage=None, held=0, **settings):
        node = make(name, stage, **settings)
        kit.teach(node, "yes", "yes yes", 16, held)
        return node

    return get


def bytes_of(patch):
    return patch.adapter.to_bytes()


def test_a_three_hour_list_of_readings_pauses_it_and_the_patch_is_bit_equal(taught, kit):
    expected = bytes_of(taught("calm").train("yes"))
    temperatures = iter([60, 70, 86, 90, 80, 76, 74, 60, 88, 84, 70, 70, 91, *[80] * 500, 70])
    stage = kit.Stage(read=lambda: kit.at(next(temperatures, 60.0)))
    node = taught("hot", stage)
    assert bytes_of(node.train("yes")) == expected
    assert node.last_training.rested == 3
    assert sum(stage.slept) > 3600


def test_an_ask_between_every_two_steps_changes_nothing(taught, kit):
    expected = bytes_of(taught("quiet").train("yes"))
    stage = kit.Stage()
    node, said = taught("busy", stage), []

    def ask_first():
        torch.manual_seed(len(said))
        said.append(node.ask("What is two?", max_new_tokens=3, temperature=1.0).text)
        return kit.at(50.0)

    stage.read = ask_first
    assert bytes_of(node.train("yes")) == expected
    assert len(said) >= kit.TINY.steps


@pytest.mark.parametrize("at_step", [1, 4, 8])
def test_ctrl_c_keeps_a_checkpoint_and_the_rest_is_bit_equal(taught, kit, at_step):
    expected = bytes_of(taught("whole").train("yes"))
    stage, reads = kit.Stage(), []

    def interrupt():
        reads.append(1)
        if len(reads) == at_step + 1:
            raise KeyboardInterrupt
        return kit.at(50.0)

    node = taught("cut", stage)
    stage.read = interrupt
    with pytest.raises(KeyboardInterrupt):
        node.train("yes")
    (domain,) = node.status().domains
    assert domain.paused
    assert domain.generation is None
    assert bytes_of(node.train("yes")) == expected
    assert not node.status().domains[0].paused


def test_a_word_in_between_stops_it_and_it_goes_on_later(taught, kit):
    from hivelearn.node.learn import train

    expected = bytes_of(taught("whole").train("yes"))
    node, asked = taught("stopped"), []

    def stop_after_three(_seconds):
        asked.append(1)
        return len(asked) == 3

    context = node.context
    patch, report = train.train(context, "yes", kit.TINY, context.config.safety, stop_after_three)
    assert patch is None
    assert report.steps == 3
    assert str(report) == "yes: stopped after 3 of 8 steps; resumable"
    assert bytes_of(node.train("yes")) == expected


def test_a_checkpoint_that_the_disk_lost_starts_it_anew(taught, kit, caplog):
    node = taught()
    expected = bytes_of(taught("other").train("yes"))
    context = node.context
    with context.store.writing("break it"):
        name = context.checkpoints.save(context.base, "yes", b"half", 0.0)
        context.blobs.delete(name)
    assert bytes_of(node.train("yes")) == expected
    assert "anew" in caplog.text


def test_a_checkpoint_of_other_corrections_starts_it_anew(taught, kit):
    node = taught()
    context = node.context
    with context.store.writing("break it"):
        context.checkpoints.save(context.base, "yes", b"half", 0.0)
    node.train("yes")
    assert node.last_training.steps == kit.TINY.steps


def test_no_corrections_to_train_on_are_the_users_error(make):
    node = make()
    with pytest.raises(UsageError, match="no corrections to train on in 'roman'"):
        node.train("roman")
    with pytest.raises(UsageError, match="no domain name"):
        node.train("Not A Domain")


def test_corrections_that_are_all_held_out_train_nothing(make, kit):
    node = make()
    kit.teach(node, "yes", "yes", train=0, held=7)
    with pytest.raises(UsageError, match="7 corrections in 'yes', held out"):
        node.train("yes")


def test_too_little_holdout_says_how_little_and_serves_unjudged(taught):
    node = taught(held=7)
    patch = node.train("yes")
    report = node.last_training
    assert str(report).startswith("yes: generation 1 serves, unmeasured: too little evidence, n=7;")
    assert report.generation == 1
    assert json.loads(report.to_json())["own"] == {"why": "too little evidence, n=7"}
    assert "<pre>" in report._repr_html_()
    assert patch.body.receipt.loss_after < patch.body.receipt.loss_before
    assert node.ask("What is yes 1?", "yes").route.experts == (patch.id.hex(),)


def test_nothing_held_out_is_unmeasured_and_has_no_card(taught):
    node = taught()
    patch = node.train("yes")
    assert "unmeasured: no correction is held out to judge by" in str(node.last_training)
    assert patch.body.card is None
    assert patch.body.receipt.loss_before is None
    assert node.ask("What is yes 1?").route.mode == "base"  # by name or stated domain only
    assert node.ask("What is yes 1?", "yes").route.mode == "stated"


def test_a_generation_is_committed_only_when_it_measures_better(taught, kit):
    node = taught(held=24)
    better = node.train("yes")
    assert node.last_training.adopted
    assert node.last_training.own.low > 0
    worse = node.train("yes", replace(kit.TINY, steps=1, rate=0.0001))
    assert not node.last_training.adopted
    assert "no lift, nothing changed" in str(node.last_training)
    assert node.ask("What is yes 1?", "yes").route.experts == (better.id.hex(),)
    assert node.context.shelf.get(worse.id).state == "own"  # it is sealed all the same
    assert node.status().domains[0].generation == 1


def test_a_card_routes_what_is_its_own_and_leaves_the_rest(taught, kit):
    node = taught(held=24)
    patch = node.train("yes")
    own = node.ask_many(kit.prompts("yes", 12, held=True), max_new_tokens=1)
    assert {a.route.experts for a in own} == {(patch.id.hex(),)}
    # The law: never what its claim was fitted to. More a random model cannot promise.
    foreign = node.ask_many([t.prompt for t in claims_stay_above(24)], max_new_tokens=1)
    assert {a.route.mode for a in foreign} == {"base"}


def test_a_training_that_diverges_seals_nothing(taught, kit):
    node = taught()
    with pytest.raises(DivergedError, match=r"yes: step \d has a gradient of norm"):
        node.train("yes", replace(kit.TINY, weight_decay=1e30))
    assert node.status().shelf == {}
    assert node.status().domains[0].generation is None


def test_two_homes_with_equal_corrections_train_equal_adapters(taught):
    one, two = taught("one").train("yes"), taught("two").train("yes")
    assert bytes_of(one) == bytes_of(two)
    assert one.id != two.id  # signed by two authors


def test_another_node_object_writing_to_the_home_is_named(taught, make):
    node = taught()
    with node.context.store.writing("hold it"):
        other = make()
        with pytest.raises(WriterBusyError, match="hold it"):
            other.train("yes")
        assert math.isfinite(other.score([("What is 1?", "yes")])[0])


def test_a_seal_of_a_broken_adapter_is_refused(taught, kit):
    node = taught()
    adapter = node.train("yes").adapter
    name, (a, b) = next(iter(adapter.factors.items()))
    broken = replace(adapter, factors={**adapter.factors, name: (a, b * float("nan"))})
    with pytest.raises(UsageError, match="NaN or infinity"):
        node.seal(broken, domain="yes")
    assert node.status().shelf == {"own": 1}


def test_an_adapter_that_spells_the_models_modules_in_another_way_is_sealed_under_its_names(
    taught, kit
):
    node = taught()
    adapter = node.train("yes").adapter
    other = {n.removeprefix("model."): pair for n, pair in adapter.factors.items()}
    sealed = node.seal(replace(adapter, factors=other), domain="yes")
    assert sealed.adapter.to_bytes() == adapter.to_bytes()


def test_a_specialist_rehearses_what_the_base_says_and_asks_it_once(taught, kit, make):
    recipe = replace(kit.TINY, rehearsal=0.5)
    node = taught()
    assert node.train("yes", recipe) is not None
    curve = node.last_training.curve
    assert len(curve.general) == len(curve.losses) == kit.TINY.steps
    (kept,) = (node.home / "rehearsal").iterdir()
    said = json.loads(kept.read_text())
    assert "What is the capital of Italy?" in said
    kept.write_text(json.dumps(dict.fromkeys(said, "as it was kept")))
    again = make()
    other = again.train("yes", recipe)
    assert again.last_training.curve.general != curve.general  # read, not asked again
    kept.write_text("{broken")
    assert bytes_of(make().train("yes", recipe)) != bytes_of(other)
    assert json.loads(kept.read_text()) == said


def test_an_interrupted_training_that_rehearses_and_ends_early_is_bit_equal(taught, kit):
    from hivelearn.node.learn import train

    recipe = replace(kit.TINY, steps=None, batch=None, pass_tokens=None, rehearsal=0.5)
    whole = taught("whole")
    expected = bytes_of(whole.train("yes", recipe))
    assert whole.last_training.steps == whole.last_training.of_steps
    node, asked = taught("cut"), []

    def stop(_seconds):
        asked.append(1)
        return len(asked) == 9

    context = node.context
    assert train.train(context, "yes", recipe, context.config.safety, stop)[0] is None
    assert bytes_of(node.train("yes", recipe)) == expected
    assert node.last_training.curve == whole.last_training.curve


def test_less_memory_means_smaller_passes_and_a_paused_training_keeps_to_its_own(taught, kit):
    from hivelearn.device.memory import Memory
    from hivelearn.node.learn import train

    recipe = replace(kit.TINY, pass_tokens=None)
    node = taught()
    context = node.context

    def free(count):
        environment = replace(context.environment, memory=lambda: Memory(count, 1 << 20))
        object.__setattr__(context, "environment", environment)

    free(10**12)
    assert train.train(context, "yes", recipe, context.config.safety, lambda _: True)[0] is None
    free(0)
    node.train("yes", recipe)
    plenty = node.last_training.recipe.pass_tokens
    assert node.last_training.anew == ""
    node.train("yes", recipe)
    assert node.last_training.recipe.pass_tokens < plenty


def test_the_report_says_what_was_forgotten_and_how_the_loss_went(taught, kit):
    node = taught(held=24)
    node.train("yes")
    report = node.last_training
    assert f"general {report.general_stated.mean:+.3f} nats if its domain is stated" in str(report)
    assert f"({report.general_routed.mean:+.3f} routed)" in str(report)
    assert report.general_stated.n == 24
    told = json.loads(report.to_json())
    assert told["curve"]["losses"] == list(report.curve.losses)
    assert told["recipe"]["batch"] == kit.TINY.batch


def test_the_cost_is_told_before_it_is_spent(taught, kit):
    node = taught()
    told = node.estimate("yes")
    assert (told.steps, told.least_steps, told.batch) == (8, 8, 8)
    assert told.seconds > 0
    assert told.memory_bytes > 50_000_000  # this process holds torch
    assert node.status().shelf == {}
    assert not node.status().domains[0].paused
    open_end = node.estimate("yes", replace(kit.TINY, steps=None, batch=4))
    assert open_end.least_steps < open_end.steps


@pytest.mark.parametrize("name", ["train", "estimate"])
def test_a_setting_outside_a_recipe_is_refused_with_where_it_belongs(make, name):
    call = getattr(make(), name)
    with pytest.raises(UsageError, match="no argument 'steps'") as caught:
        call("yes", steps=5)
    assert caught.value.remedy == "Did you mean recipe=hl.Recipe(steps=5)?"
    with pytest.raises(UsageError, match="did you mean 'steps'"):
        call("yes", stpes=5)
