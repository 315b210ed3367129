"""Where a result goes is settled before any work, and nothing is left where none came."""

import shutil
from types import SimpleNamespace

import pytest
import torch

from hivelearn.errors import UsageError
from hivelearn.merging.errors import MergeError
from hivelearn.merging.files import place, sources
from hivelearn.merging.into_model import merge_into
from hivelearn.merging.merge import merge
from hivelearn.merging.recipe.recipe import MergeRecipe
from hivelearn.merging.run import one_module
from hivelearn.merging.run.options import MergeOptions
from hivelearn.patch.adapter import Adapter


@pytest.fixture
def folders(made, tmp_path):
    return [made(seed).save(tmp_path / "sources" / f"a{seed}") for seed in (1, 2)]


@pytest.fixture
def unread(monkeypatch):
    """Fail the test if a source's numbers are read: nothing may be computed before the refusal."""
    monkeypatch.setattr(
        sources.AdapterSource, "read", lambda *_: pytest.fail("work began before the refusal")
    )


PLACES = {
    "where one works": lambda *_: (".", "in which you work"),
    "around where one works": lambda *_: ("..", "or one around it"),
    "where one works, by name": lambda here, _: (here, "in which you work"),
    "within a source": lambda _, one: (one / "sub", "within the folder of source 0"),
    "deep within a source": lambda _, one: (one / "a" / "b", "within the folder of source 0"),
    "a source": lambda _, one: (one, "the folder of source 0"),
}


@pytest.mark.parametrize("energy", [None, 0.9])
@pytest.mark.parametrize("where", PLACES.values(), ids=PLACES.keys())
def test_a_place_that_is_anothers_is_refused(folders, tmp_path, monkeypatch, unread, where, energy):
    here = tmp_path / "here" / "deep"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    out, says = where(here, folders[0])
    with pytest.raises(MergeError, match=says):
        merge(folders, out=out, energy=energy)
    assert not list(here.iterdir())
    assert not (folders[0] / "sub").exists()


@pytest.mark.parametrize("energy", [None, 0.9])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    folders, tmp_path, unread, energy
):
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "sub"):
        with pytest.raises(MergeError, match="cannot be written"):
            merge(folders, out=out, energy=energy)


def test_auto_tries_nothing_for_a_place_that_cannot_be(folders, unread):
    with pytest.raises(MergeError, match="the folder of source 0"):
        merge(folders, "auto", validate=lambda _: 1.0, out=folders[0])


def test_a_disk_without_room_is_known_before_the_work(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    monkeypatch.setattr(one_module, "merge_factors", lambda *_: pytest.fail("work began"))
    with pytest.raises(MergeError, match="MB are needed"):
        merge(folders, out=tmp_path / "new" / "out", study=False)
    assert not (tmp_path / "new").exists()


def test_a_merge_that_fails_leaves_no_folder_behind(folders, made, tmp_path):
    whole = made(3)
    broken = {name: (a * torch.nan, b) for name, (a, b) in whole.factors.items()}
    for out in (tmp_path / "out", tmp_path / "new" / "deep" / "out"):
        with pytest.raises(MergeError, match="NaN or infinity"):
            merge([*folders, Adapter(broken, whole.rank, whole.alpha)], out=out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sources"]


def test_a_folder_that_was_there_stays(made, tmp_path):
    (tmp_path / "out").mkdir()
    with place.ResultFolder(tmp_path / "out"):
        pass
    assert (tmp_path / "out").is_dir()


WRONG = {
    "out": ({"out": 5}, "out = 5"),
    "validate": ({"validate": 5, "method": "auto"}, "validate = 5"),
    "validate without auto": ({"validate": 5}, "validate = 5"),
    "study": ({"study": "no"}, "study = 'no'"),
    "progress": ({"progress": 1}, "progress = 1"),
    "dtype": ({"dtype": 5}, "dtype 5"),
    "trust": ({"trust": 5}, "trust 5"),
    "a trust of 2": ({"trust": [2, 1]}, "trust"),
    "trust in words": ({"trust": "11"}, "trust"),
    "no place": ({"out": ""}, "no name of a folder"),
}


@pytest.mark.parametrize(("given", "says"), WRONG.values(), ids=WRONG.keys())
def test_an_argument_of_the_wrong_kind_is_the_callers_and_known_at_once(
    folders, unread, given, says
):
    with pytest.raises(UsageError, match=says) as caught:
        merge(folders, **given)
    assert caught.value.remedy


@pytest.mark.parametrize("given", [{"trust": 5}, {"dtype": 5}, {"study": "no"}, {"out": b"x"}])
def test_options_of_the_wrong_kind_are_refused_at_birth(given):
    with pytest.raises(UsageError):
        MergeOptions(**given)


def test_types_of_torch_are_meant_as_they_are_said():
    assert MergeOptions(dtype=torch.bfloat16).dtype is torch.bfloat16


@pytest.mark.parametrize("wrong", [5, {"out": "x"}, "merged/"], ids=repr)
def test_what_is_no_options_is_refused_by_a_merge_into_a_model(folders, wrong):
    with pytest.raises(MergeError, match="is no MergeOptions"):
        merge_into("nowhere", folders, MergeRecipe(), wrong)


@pytest.mark.parametrize("wrong", ["yes", 1, None], ids=repr)
def test_whether_weights_may_subtract_is_true_or_false(wrong):
    with pytest.raises(MergeError, match="neither True nor False"):
        MergeRecipe(allow_negative=wrong)
