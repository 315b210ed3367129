"""The journal as its owner sees it: whatever the clock does, the last word counts."""

import json

from hivelearn.node import conversation
from hivelearn.node.config import NodeConfig
from hivelearn.node.corrections import Corrections
from hivelearn.node.workbench import World, open_workbench


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
