"""A home remembers its model; who names another is told, and gets it."""

import json
import logging
import shutil

import pytest

import hivelearn as hl
from hivelearn.inference.model_folder import NANO
from hivelearn.node.config import NodeConfig
from hivelearn.node.context import open_context
from hivelearn.node.home_model import FILE, RememberedModelError
from hivelearn.node.status import read_status
from hivelearn.testing.models import small_model


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def warned(caplog):
    caplog.set_level(logging.WARNING, "hivelearn.model")
    return lambda: [record.getMessage() for record in caplog.records]


def context(home, model=None):
    return open_context(model, NodeConfig(home=home))


def test_a_home_opens_the_model_that_it_was_first_opened_with(folder, home, warned):
    first = hl.Node(folder, home=home)
    again = hl.Node(home=home)
    assert again.base == first.base
    assert again.context.folder == folder
    assert read_status(context(home)).remembers == str(folder)
    assert "this home's" in str(again.status())
    assert not warned()


def test_a_correction_alone_makes_a_home_remember(folder, home):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder.parent)
        from hivelearn.node.ask import ask

        ask.correct(context(home, folder.name), "14?", "XIV", domain="roman")
    assert context(home).folder == folder  # whatever directory one is in


def test_looking_at_a_home_makes_it_remember_nothing(folder, home):
    read_status(context(home, folder))
    assert not (home / FILE).exists()
    assert context(home).folder == NANO


def test_a_home_without_a_model_has_the_nano_model_and_remembers_none(home):
    hl.Node(home=home)
    assert read_status(context(home)).remembers is None
    assert not (home / FILE).exists()


def test_who_names_another_model_is_told_and_gets_it(folder, home, tmp_path, warned):
    hl.Node(folder, home=home)
    other = hl.Node(small_model(tmp_path / "other", seed=1), home=home)
    assert other.base != hl.Node(home=home).base
    (said,) = warned()
    assert str(folder) in said
    assert str(home / FILE) in said
    assert hl.Node("nano", home=home).context.folder == NANO
    assert f"remembers {folder}" in str(read_status(context(home, "nano")))


def test_a_home_of_the_nano_model_that_gets_another_says_so(folder, home, warned):
    hl.Node(home=home).correct("14?", "XIV", domain="roman")
    hl.Node(folder, home=home)
    (said,) = warned()
    assert "--model nano" in said
    assert hl.Node(home=home).context.folder == folder


def test_a_model_inside_the_home_moves_with_it(folder, home, tmp_path):
    hl.Node(shutil.copytree(folder, home.parent / "copy"), home=tmp_path / "unused")
    hl.Node(home=home)  # made
    inside = shutil.copytree(folder, home / "models" / "mine")
    hl.Node(inside, home=home)
    moved = home.rename(tmp_path / "moved")
    assert hl.Node(home=moved).context.folder == moved / "models" / "mine"


def test_a_remembered_model_that_is_gone_is_no_other_model(folder, home, tmp_path):
    hl.Node(shutil.copytree(folder, tmp_path / "copy"), home=home)
    shutil.rmtree(tmp_path / "copy")
    with pytest.raises(RememberedModelError, match="remembers the model") as caught:
        hl.Node(home=home)
    assert "--model" in caught.value.remedy
    assert hl.Node(folder, home=home).context.folder == folder


DAMAGED = {
    "empty": b"",
    "no JSON": b"{",
    "no object": b"[]",
    "no model": b"{}",
    "a number": b'{"model": 3}',
    "nothing": b'{"model": ""}',
    "no UTF-8": b"\xff",
    "too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("raw", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_memory_that_cannot_be_read_is_no_other_model(folder, home, raw):
    hl.Node(folder, home=home)
    (home / FILE).write_bytes(raw)
    with pytest.raises(RememberedModelError, match=r"model\.json") as caught:
        hl.Node(home=home)
    assert "Remove it" in caught.value.remedy
    hl.Node(folder, home=home)
    assert json.loads((home / FILE).read_bytes())["model"] == str(folder)


def test_a_home_that_can_only_be_read_still_answers(folder, home, monkeypatch):
    hl.Node(home=home)
    monkeypatch.setattr("hivelearn.node.home_model.write_whole", _refuse)
    assert hl.Node(folder, home=home).context.folder == folder


def _refuse(path, *_):
    from hivelearn.files import DiskReadOnlyError

    raise DiskReadOnlyError(path, "Read-only file system")
