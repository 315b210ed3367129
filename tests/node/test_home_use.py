"""What is only read leaves no trace; a first write makes a home, and says so; a loss is told."""

import shutil
import warnings

import pytest

import hivelearn as hl
from hivelearn.errors import HivelearnError, UsageError
from hivelearn.identity import full_name
from hivelearn.node.ask import ask
from hivelearn.node.config import NodeConfig
from hivelearn.node.context import open_context
from hivelearn.node.events import HomeMade, LossFound
from hivelearn.node.status import read_status
from hivelearn.store.errors import LossWarning

READS = {
    "opening": lambda node: None,
    "repr": repr,
    "status": lambda node: node.status(),
    "trust": lambda node: node.trust,
    "corrections": lambda node: (node.corrections.list(), node.corrections.counts()),
    "ask": lambda node: node.ask("yes?", max_new_tokens=1),
    "score": lambda node: node.score([("yes?", "yes")]),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
def test_reading_makes_nothing(make, tmp_path, read):
    read(make("nowhere"))
    assert list(tmp_path.iterdir()) == []


def test_an_empty_directory_stays_empty_until_it_is_a_home(make, tmp_path):
    (tmp_path / "empty").mkdir()
    node = make("empty")
    node.ask("yes?", max_new_tokens=1)
    assert list((tmp_path / "empty").iterdir()) == []
    node.correct("14?", "XIV", domain="roman")
    assert len(node.corrections) == 1


def test_the_first_write_makes_the_home_with_its_keys_and_says_so(make):
    node, heard = make("deep"), []
    node.events.subscribe(lambda event: heard.append(event) if isinstance(event, HomeMade) else 0)
    node.correct("14?", "XIV", domain="roman")
    node.correct("15?", "XV", domain="roman")
    assert heard == [HomeMade(node.home)]
    assert node.context.known_identity() is not None


NO_HOMES = ["", "a\0b", "\ud800", "~nobody-of-that-name/home", 5, b"home"]


@pytest.mark.parametrize("home", NO_HOMES, ids=repr)
def test_what_can_be_no_path_is_refused_with_what_to_give(folder, home):
    with pytest.raises(UsageError) as caught:
        hl.Node(folder, home=home)
    assert caught.value.remedy


def test_an_empty_path_is_not_the_current_directory(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        hl.Node(folder, home="")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("config", [5, "config", {"seed": 1}, NodeConfig])
def test_a_configuration_of_another_type_is_refused(folder, config):
    with pytest.raises(UsageError, match="config"):
        hl.Node(folder, config=config)


HALF = "half a character \ud83d"
SAID = {
    "note": lambda node: node.vouch(full_name(bytes(range(32))), HALF),
    "prompt": lambda node: node.ask(HALF),
    "prompts": lambda node: node.ask_many(["yes?", HALF]),
    "stream": lambda node: list(node.stream(HALF)),
    "pair": lambda node: node.score([("yes?", HALF)]),
    "correction": lambda node: node.correct(HALF, "yes", domain="yes"),
    "right": lambda node: node.correct("yes?", HALF, domain="yes"),
    "subject": lambda node: node.correct("yes?", "yes", domain="yes", subject=HALF),
    "domain": lambda node: node.correct("yes?", "yes", domain=HALF),
    "train": lambda node: node.train(HALF),
    "merge": lambda node: node.merge(HALF),
    "rollback": lambda node: node.rollback(HALF),
    "forget": lambda node: node.corrections.forget(HALF),
    "forget domain": lambda node: node.corrections.forget(domain=HALF),
    "import": lambda node: node.corrections.import_from(HALF, domain="yes"),
    "export": lambda node: node.corrections.export_to(HALF),
    "experts": lambda node: node.ask("yes?", experts=[HALF]),
    "secret": lambda node: node.join("yes", fabric="memory", secret=HALF),
    "topic": lambda node: node.join(HALF, fabric="memory"),
    "model": lambda node: hl.Node(HALF),
}


@pytest.mark.parametrize("say", SAID.values(), ids=SAID.keys())
def test_half_a_character_is_refused_wherever_text_is_given(make, say):
    node = make()
    with pytest.raises(HivelearnError) as caught:
        say(node)
    assert caught.value.remedy
    assert node.corrections.list() == ()


@pytest.fixture
def lossy(folder, tmp_path):
    """A home whose database went back by two corrections."""
    home = tmp_path / "home"
    context = open_context(folder, NodeConfig(home=home))
    for n in range(3):
        ask.correct(context, f"{n}?", "yes", domain="yes")
        with context.store.writing("take it in"):
            pass
        if n == 0:
            shutil.copy(home / "hive.db", tmp_path / "old")
    shutil.copy(tmp_path / "old", home / "hive.db")
    return lambda: open_context(folder, NodeConfig(home=home))


def test_a_loss_is_a_warning_an_event_and_a_line_of_status_until_it_is_deleted(lossy):
    with pytest.warns(LossWarning, match="2 corrections among them"):
        context = lossy()
    assert "2 corrections among them" in str(read_status(context))
    heard = []
    with pytest.warns(LossWarning):
        again = lossy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # told once in one process
        again.events.subscribe(heard.append)
        with again.store.writing("write it down"):
            pass
        last = lossy()
    assert "2 corrections among them" in str(read_status(last))
    last.store.losses.path.unlink()
    assert read_status(last).problems == ()


def test_who_listens_hears_of_a_loss_that_comes_while_the_node_is_open(lossy, tmp_path):
    with pytest.warns(LossWarning):
        context = lossy()
    with context.store.writing("write it down"):
        pass
    ask.correct(context, "new?", "yes", domain="yes")
    heard = []
    context.events.subscribe(heard.append)
    with context.store.writing("take it in"):
        pass
    shutil.copy(tmp_path / "old", context.home.path / "hive.db")
    with pytest.warns(LossWarning), context.store.writing("go on"):
        pass
    (found,) = [event for event in heard if isinstance(event, LossFound)]
    assert found.loss.corrections == 1


def test_who_hears_of_a_new_home_or_a_loss_may_write(lossy, make):
    def note(event):
        if isinstance(event, HomeMade | LossFound):
            where.store.remember(kept)

    with pytest.warns(LossWarning):
        context = lossy()
    node = make("new")
    kept = context.journal.list()[0]
    for where in (context, node.context):
        where.events.subscribe(note)
    where = context
    context.store._told = None  # as if the disk had lost it only now
    with pytest.warns(LossWarning), context.store.writing("take it in"):
        pass
    where = node.context
    with node.context.store.writing("the first"):
        assert node.corrections.list() == (kept,)
