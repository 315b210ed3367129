"""The journal as its owner sees it: whatever the clock does, the last word counts."""

import json

import pytest

from hivelearn.files import DiskFullError
from hivelearn.node.ask import ask
from hivelearn.node.ask.corrections import Corrections
from hivelearn.node.config import NodeConfig
from hivelearn.node.context import Environment, open_context


def test_the_last_word_counts_when_the_clock_has_run_back(folder, tmp_path):
    now_s = [2.0e9]
    config = NodeConfig(home=tmp_path / "home")
    context = open_context(folder, config, Environment(clock=lambda: now_s[0]))
    ask.correct(context, "2+2?", "5", domain="sums")
    ask.correct(context, "3+3?", "6", domain="sums")
    now_s[0] = 1.7e9
    ask.correct(context, "2+2?", "4", domain="sums")
    assert [c.right for c in Corrections(context).list()] == ["6", "4"]
    path = tmp_path / "sums.jsonl"
    path.write_text(json.dumps({"prompt": "3+3?", "right": "six"}))
    assert Corrections(context).import_from(path, "sums").new == 1
    assert [c.right for c in Corrections(context).list()] == ["4", "six"]


REFUSALS = {
    "before anything is written": "hivelearn.store.lock.WriterLock._take",
    "while it is written": "hivelearn.store.journal.Journal.add",
}


@pytest.mark.parametrize("place", REFUSALS.values(), ids=REFUSALS.keys())
def test_a_disk_that_refuses_an_import_is_told_with_the_file_that_was_not_stored(
    folder, tmp_path, monkeypatch, place
):
    context = open_context(folder, NodeConfig(home=tmp_path / "home"))
    path = tmp_path / "sums.jsonl"
    path.write_text(json.dumps({"prompt": "3+3?", "right": "six"}))

    def refuse(*_):
        raise DiskFullError(context.home.path, "No space left on device")

    monkeypatch.setattr(place, refuse)
    with pytest.raises(DiskFullError) as caught:
        Corrections(context).import_from(path, "sums")
    what = f"{context.home.path}: No space left on device; nothing of {path} was stored"
    assert caught.value.what == what
