"""A node's keys are made once: a home that has lost them does not become somebody else."""

import shutil

import pytest

from hivelearn.identity import IdentityError, full_name
from hivelearn.node.config import NodeConfig
from hivelearn.node.context import open_context
from hivelearn.node.own_keys import NOTE
from hivelearn.node.status import read_status


@pytest.fixture
def opened(folder, tmp_path):
    """Open the home anew, as another process would."""
    return lambda: open_context(folder, NodeConfig(home=tmp_path / "home"))


def test_keys_are_made_at_first_need_and_stay(opened):
    assert opened().known_identity() is None
    made = opened().identity.author
    assert opened().known_identity().author == made
    assert (opened().home.path / NOTE).read_text() == f"{full_name(made)}\n"


GONE = {
    "the folder": lambda home: shutil.rmtree(home / "identity"),
    "all that was in it": lambda home: [file.unlink() for file in (home / "identity").iterdir()],
}


@pytest.mark.parametrize("lose", GONE.values(), ids=GONE.keys())
def test_keys_that_are_gone_are_not_made_anew_in_silence(opened, lose):
    before = opened().identity.author
    home = opened().home.path
    lose(home)
    for _ in range(2):
        with pytest.raises(IdentityError, match=full_name(before)) as caught:
            opened().identity  # noqa: B018 - the keys are read
        assert "backup" in caught.value.remedy
    (problem,) = read_status(opened()).problems
    assert full_name(before) in problem
    assert not any((home / "identity").glob("*"))


def test_own_patches_remember_whose_the_home_was_where_its_note_is_gone(author, folder, tmp_path):
    node, _ = author
    home = tmp_path / "copy"
    shutil.copytree(node.home, home)
    shutil.rmtree(home / "identity")
    (home / NOTE).unlink()
    with pytest.raises(IdentityError, match=node.key):
        open_context(folder, NodeConfig(home=home)).identity  # noqa: B018


def test_keys_that_come_back_from_a_backup_are_taken(opened, tmp_path):
    before = opened().identity.author
    folder = opened().home.path / "identity"
    folder.rename(tmp_path / "backup")
    with pytest.raises(IdentityError):
        opened().identity  # noqa: B018
    (tmp_path / "backup").rename(folder)
    assert opened().identity.author == before
