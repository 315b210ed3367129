"""The journal as its owner sees it: whatever the clock does, the last word counts."""

import json

import pytest

from hivelearn.node import conversation
from hivelearn.node.config import NodeConfig
from hivelearn.node.corrections import Corrections
from hivelearn.node.workbench import World, open_workbench
from hivelearn.store.errors import HomeFullError


def test_the_last_word_counts_when_the_clock_has_run_back(folder, tmp_path):
    now_s = [2.0e9]
    config = NodeConfig(home=tmp_path / "home")
    bench = open_workbench(folder, config, World(clock=lambda: now_s[0]))
    conversation.correct(bench, "2+2?", "5", domain="sums")
    conversation.correct(bench, "3+3?", "6", domain="sums")
    now_s[0] = 1.7e9
    conversation.correct(bench, "2+2?", "4", domain="sums")
    assert [c.right for c in Corrections(bench).list()] == ["6", "4"]
    path = tmp_path / "sums.jsonl"
    path.write_text(json.dumps({"prompt": "3+3?", "right": "six"}))
    assert Corrections(bench).import_jsonl(path, "sums") == 1
    assert [c.right for c in Corrections(bench).list()] == ["4", "six"]


REFUSALS = {
    "before anything is written": "hivelearn.store.lock.WriterLock._take",
    "while it is written": "hivelearn.store.journal.Journal.add",
}


@pytest.mark.parametrize("place", REFUSALS.values(), ids=REFUSALS.keys())
def test_a_disk_that_refuses_an_import_is_told_with_the_file_that_was_not_stored(
    folder, tmp_path, monkeypatch, place
):
    bench = open_workbench(folder, NodeConfig(home=tmp_path / "home"))
    path = tmp_path / "sums.jsonl"
    path.write_text(json.dumps({"prompt": "3+3?", "right": "six"}))

    def refuse(*_):
        raise HomeFullError(bench.home.path, "No space left on device")

    monkeypatch.setattr(place, refuse)
    with pytest.raises(HomeFullError) as caught:
        Corrections(bench).import_jsonl(path, "sums")
    what = f"{bench.home.path}: No space left on device; nothing of {path} was stored"
    assert caught.value.what == what
