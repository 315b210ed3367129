"""One stream tells all that happens in a node, from any thread, and no listener can break it."""

import queue
import threading

import pytest

from hivelearn.device.permit import NOT_MEASURED
from hivelearn.errors import PeerError, UsageError
from hivelearn.node import events
from hivelearn.node.background import BackgroundRun, Schedule
from hivelearn.node.events import (
    Adopted,
    CorrectionAdded,
    CorrectionsForgotten,
    CorrectionsImported,
    EventStream,
    MergeEnded,
    PatchArrived,
    PatchRefused,
    PeerDown,
    PeerUp,
    PermitChanged,
    RunFailed,
    TrainingEnded,
    TrainingEstimated,
    TrainingStarted,
    TrainingStep,
    TrustChanged,
    VerdictReached,
)
from hivelearn.node.share.network import NodeNetwork
from hivelearn.testing.hostile import changed
from hivelearn.training.recipe import Recipe

CHANGED = PermitChanged(NOT_MEASURED, None)


@pytest.fixture
def heard():
    """Return a function that begins to listen to a node: a list that grows."""

    def listen(node):
        node.context.home.make()  # test_home_use.py hears of that
        told = []
        node.events.subscribe(told.append)
        return told

    return listen


def kinds(told):
    return [type(event) for event in told]


def test_a_correction_is_told_with_its_text(make, heard, tmp_path):
    node = make()
    told = heard(node)
    node.correct("What is one?", "un", domain="french")
    node.ask("What is two?", max_new_tokens=1).correct("deux", domain="french")
    assert [event.correction.right for event in told] == ["un", "deux"]
    node.corrections.export_to(tmp_path / "all.jsonl")
    node.corrections.forget(domain="french")
    node.corrections.import_from(tmp_path / "all.jsonl")
    assert kinds(told[:2]) == [CorrectionAdded] * 2
    assert told[2:] == [CorrectionsForgotten(2), CorrectionsImported(2)]


def test_a_training_is_told_step_by_step_and_with_its_permit(make, heard, kit):
    node = make()
    kit.teach(node, "yes", "yes yes")
    told = heard(node)
    patch = node.train("yes")
    steps = kit.TINY.steps
    assert told[0] == TrainingStarted("yes", 0, steps)
    estimate = told.pop(3)  # after the first step: what the rest will cost
    assert isinstance(estimate, TrainingEstimated)
    assert (estimate.estimate.steps, estimate.estimate.domain) == (steps, "yes")
    assert kinds(told[1:]) == [PermitChanged, *[TrainingStep] * steps, Adopted, TrainingEnded]
    assert (told[1].permit.work, told[1].domain) == (True, "yes")
    assert [(step.domain, step.done, step.of) for step in told[2:-2]] == [
        ("yes", n + 1, steps) for n in range(steps)
    ]
    assert all(step.loss > 0 for step in told[2:-2])
    left = [step.left_s for step in told[2:-2]]
    assert left[0] is None
    assert left[1:] == sorted(left[1:], reverse=True)
    assert left[-1] == 0
    assert told[-2].generation == node.context.serving()[0]
    assert told[-1].report == node.last_training
    assert told[-1].report.patch == patch.id.hex()


def test_a_patch_that_arrives_is_judged_adopted_and_rolled_back(make, heard, kit, author):
    owner, patch = author
    node = make()
    node.vouch(owner.key)
    told = heard(node)
    kit.send(patch, node)
    assert told == [PatchArrived(patch.id, patch.body.author, "yes")]
    report = node.merge("yes")
    verdict, adopted, ended = told[1:]
    assert verdict == VerdictReached("yes", report.patches[0])
    assert isinstance(adopted, Adopted)
    assert adopted.generation == node.context.serving()[0]
    assert ended == MergeEnded(report)
    back = node.rollback("yes")
    assert told[4:] == [Adopted(back)]
    assert back.undoes == adopted.generation.number


def test_a_candidate_is_told_as_adopted_when_it_is(make, heard, kit, author):
    owner, patch = author
    node = make()
    node.vouch(owner.key)
    kit.send(patch, node)
    told = heard(node)
    report = node.merge("yes", adopt=False)
    assert kinds(told) == [VerdictReached, MergeEnded]
    node.adopt(report)
    assert told[2:] == [Adopted(node.context.serving()[0])]
    assert node.merge("nothing-here").why == "nothing arrived"
    assert kinds(told[3:]) == [MergeEnded]


def test_an_own_patch_that_is_adopted_is_told(make, heard, author):
    node = make()
    told = heard(node)
    own = node.seal(changed(author[1], lambda b: b), domain="yes")
    assert told == []
    node.adopt(own)
    assert told == [Adopted(node.context.serving()[0])]


def test_what_is_refused_at_the_door_is_told_with_its_reason(make, heard, kit, author):
    _, patch = author
    node = make(sandbox_max=1)
    told = heard(node)
    kit.send(patch, node)
    library = NodeNetwork(node.context).library
    library.open(bytes(32), "yes")
    notice = kit.notice(patch)
    library.partial(notice).write_bytes(b"no adapter")
    with pytest.raises(PeerError):
        library.accept(notice, library.partial(notice))
    assert kinds(told) == [PatchArrived, PatchRefused]
    assert (told[1].patch, told[1].author, told[1].domain) == (patch.id, patch.body.author, "yes")
    assert told[1].why


def test_a_background_run_tells_what_it_does_and_what_failed(make, kit):
    node = make(recipe=Recipe(targets="no_such_module"))
    kit.teach(node, "yes", "yes yes")
    inbox = queue.Queue()
    schedule = Schedule(round_s=0.02)
    with node.events.subscribe(inbox.put), BackgroundRun(node.context, schedule) as run:
        first = inbox.get(timeout=20)
        failed = inbox.get(timeout=20)
    assert first == PermitChanged(run.permit, None)
    assert isinstance(failed, RunFailed)
    assert "no_such_module" in failed.what
    assert run.errors[0] == failed.what


def test_a_vouch_and_its_withdrawal_are_told_with_what_serves_then(make, heard, kit, author):
    owner, patch = author
    node = make()
    node.vouch(owner.key)
    kit.send(patch, node)
    node.merge("yes")
    told = heard(node)
    (serves,) = node.unvouch(owner.key)
    node.vouch(owner.key)
    key = patch.body.author
    assert told == [
        TrustChanged(key, vouched=False),
        Adopted(serves),
        TrustChanged(key, vouched=True),
    ]


async def _awaited(event):
    pass


@pytest.mark.parametrize(
    "listener", [None, 5, _awaited], ids=["nothing", "a number", "a coroutine function"]
)
def test_what_cannot_be_called_with_an_event_cannot_listen(make, listener):
    with pytest.raises(UsageError, match="cannot listen"):
        make().events.subscribe(listener)


def test_peers_come_and_go(make, heard):
    node, other = make(), make("other")
    node.context.home.make()
    inbox = queue.Queue()
    node.events.subscribe(inbox.put)
    near = {"listen": "127.0.0.1:0", "discover": False}
    with node.join("yes", **near) as swarm:
        with other.join("yes", peers=[swarm.address], **near):
            up = inbox.get(timeout=20)
        down = inbox.get(timeout=20)
    assert up == PeerUp(other.context.identity.device)
    assert down == PeerDown(other.context.identity.device)


def test_a_listener_that_fails_costs_nobody_anything(make, heard, kit, caplog):
    calm, node = make("calm"), make()
    for each in (calm, node):
        kit.teach(each, "yes", "yes yes")

    def broken(_):
        raise ZeroDivisionError

    full = queue.Queue(maxsize=2)
    node.events.subscribe(broken)
    node.events.subscribe(full.put_nowait)
    told = heard(node)
    assert node.train("yes").adapter.to_bytes() == calm.train("yes").adapter.to_bytes()
    assert kinds(told)[-1] is TrainingEnded
    assert full.qsize() == 2  # what does not fit is dropped
    assert caplog.text.count("a listener failed at TrainingStarted") == 1
    assert caplog.text.count("Traceback") == 2  # the first failure of each


def test_ctrl_c_in_a_listener_is_ctrl_c(make, kit):
    node = make()
    kit.teach(node, "yes", "yes yes")

    def stop(event):
        if isinstance(event, TrainingStep) and event.done == 3:
            raise KeyboardInterrupt

    with node.events.subscribe(stop), pytest.raises(KeyboardInterrupt):
        node.train("yes")
    assert node.status().domains[0].paused


def test_who_has_stopped_listening_hears_nothing_more():
    stream, told = EventStream(), []
    with stream.subscribe(told.append) as subscription:
        stream.publish(CHANGED)
    stream.publish(CHANGED)
    subscription.close()
    assert told == [CHANGED]


def test_a_listener_may_stop_listening_while_it_is_told():
    stream, told = EventStream(), []

    def once(event):
        told.append(event)
        subscription.close()

    subscription = stream.subscribe(once)
    stream.subscribe(told.append)
    stream.publish(CHANGED)
    stream.publish(CHANGED)
    assert len(told) == 3


def test_threads_may_publish_and_subscribe_at_once():
    stream, count = EventStream(), 200
    always = []
    stream.subscribe(always.append)

    def work():
        for _ in range(count):
            with stream.subscribe(lambda _: None):
                stream.publish(CHANGED)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(always) == 4 * count


def test_every_kind_of_event_is_in_the_union():
    records = {
        value
        for value in vars(events).values()
        if isinstance(value, type) and value.__module__ == events.__name__
    } - {events.Subscription, EventStream}
    assert set(events.Event.__args__) == records | {PeerUp, PeerDown}
