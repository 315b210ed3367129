"""The demonstration in small: three real processes, the real fabric, the real table."""

import json
import os
import signal
from dataclasses import asdict

import pytest

from hivelearn.demo import director, exam, main, tasks
from hivelearn.errors import UsageError
from hivelearn.node.node import Node

SMALL = main.Plan(seed=3, corrections=40, questions=6, steps=2)
TINY = asdict(main.Plan(questions=1, steps=1))


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Run the small plan once; return (its JSON, its picture's bytes, what it printed)."""
    folder = tmp_path_factory.mktemp("demo")
    file, picture = folder / "demo.json", folder / "demo.png"
    assert main.play(SMALL, file, picture) == 0
    return json.loads(file.read_text()), picture.read_bytes()


def test_the_json_holds_every_node_and_domain_at_every_stage(ran):
    result, _ = ran
    assert len(result["rows"]) == 9
    assert sum(row["own"] for row in result["rows"]) == 3
    assert {row["domain"] for row in result["rows"]} == set(tasks.DOMAINS)
    assert len(result["retention"]) == 3
    for row in result["rows"] + result["retention"]:
        for stage in main.STAGES:
            assert 0 <= row[stage]["exact"] <= 1
            assert row[stage]["loss"] > 0


def test_two_steps_of_training_change_the_loss_of_nothing_but_what_they_touch(ran):
    result, _ = ran
    for row in result["retention"]:
        # Two steps make no expert: whatever the router does, the base's tasks must stay.
        assert row["after_exchange"]["loss"] == pytest.approx(row["before"]["loss"], abs=0.02)


def test_the_picture_is_a_png_of_some_size(ran):
    _, picture = ran
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000


def test_the_table_names_every_node_subject_and_stage(ran):
    text = main.table(ran[0])
    for word in ("node-1", "node-3", "roman", "(own)", "base tasks", "after exchange"):
        assert word in text


@pytest.mark.parametrize("seed", [-1, main.SEED_MAX])
def test_a_seed_out_of_range_is_refused_before_anything_starts(seed):
    with pytest.raises(UsageError, match="out of range"):
        main.run(seed)


def test_a_file_that_cannot_be_written_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(UsageError, match="cannot be written"):
        main.run(0, tmp_path / "no" / "such" / "folder.json")


def test_nothing_is_generated_twice_by_the_same_weights(tmp_path, monkeypatch):
    questions = exam.Exam({"roman": exam.questions(0, 4)["roman"]})
    with Node(home=tmp_path / "home", progress=False) as node:
        first = questions.sit(node, "roman")
        other = exam.Exam(questions.pairs)
        other.hear(questions.told("roman"))
        monkeypatch.setattr(type(node.engine), "generate", None)  # whoever calls it fails
        assert questions.sit(node, "roman") == other.sit(node, "roman") == first


def test_a_node_that_dies_is_named_with_what_it_was_doing():
    heard = []
    with director.Director(1, TINY, heard.append) as nodes:
        actor = nodes.actors[0]
        assert actor.tell("hello")["domain"] == "roman"
        os.kill(actor._process.pid, signal.SIGKILL)
        with pytest.raises(director.ChildError, match="node-1 ended during 'exam'"):
            actor.tell("exam")


def test_a_refusal_of_the_library_reaches_the_parent_with_its_remedy():
    with director.Director(1, TINY, print) as nodes:
        with pytest.raises(director.ChildError) as caught:
            nodes.actors[0].tell("train")
        assert "no corrections" in caught.value.what
        assert "correct" in caught.value.remedy


def test_an_interrupted_demonstration_leaves_no_process_and_no_home(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    plan = asdict(main.Plan(steps=400))

    def interrupted():
        with director.Director(1, plan, print) as nodes:
            nodes.actors[0].tell("hello")
            started.append(nodes.actors[0]._process)
            raise KeyboardInterrupt

    started = []
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert started[0].poll() is not None
    assert list(tmp_path.glob("hivelearn-demo-*")) == []
