"""`hivelearn corrections`: what was said is listed, taken out and in, and really forgotten."""

import json

import pytest

from hivelearn.node import measure
from hivelearn.node.config import NodeConfig
from hivelearn.node.context import open_context
from hivelearn.testing.models import small_model
from hivelearn.training.recipe import Recipe
from hivelearn.training.session import Lessons, TrainingSession


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(small_model(tmp_path_factory.mktemp("base")))


@pytest.fixture
def told(call, base):
    """Call a command of the group; return its result."""
    return lambda *words: call("corrections", *words, "--model", base)


@pytest.fixture
def filled(told, tmp_path):
    """Twelve corrections in a home."""
    path = tmp_path / "in.csv"
    rows = [f"What is {n}?,quicksilver {n}" for n in range(12)]
    path.write_text("\n".join(["prompt,right", *rows]))
    assert told("import", str(path), "--domain", "numbers").stdout == "12 new corrections\n"
    return path


def listed(told, *words):
    return json.loads(told("list", "--json", *words).stdout)["corrections"]


def bytes_of(home):
    return b"".join(file.read_bytes() for file in home.rglob("*") if file.is_file())


def test_what_was_said_is_listed(told, filled):
    done = told("list")
    assert done.exit_code == 0
    assert "What is 3?" in done.stdout
    assert "held out" in done.stdout
    assert len(listed(told, "--domain", "numbers")) == 12
    assert listed(told, "--domain", "other") == []


def test_what_goes_out_comes_in_again(told, filled, tmp_path, call, base):
    out = tmp_path / "out.jsonl"
    assert told("export", str(out)).stdout == f"12 corrections in {out}\n"
    assert told("import", str(out)).stdout == "0 new corrections, 12 said before\n"
    other = call("corrections", "import", str(out), "--model", base, home=tmp_path / "other")
    assert other.stdout == "12 new corrections\n"


def test_an_import_that_is_refused_names_the_line_and_what_is_wanted(told, filled, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "1?", "right": "I"}\n{"prompt": "2?"}\n')
    done = told("import", str(bad), "--domain", "roman")
    assert done.exit_code == 2
    assert "line 2: it has no answer" in done.stderr
    assert "prompt and right" in done.stderr
    assert len(listed(told)) == 12


def test_one_correction_is_forgotten_by_the_beginning_of_its_id(told, filled, home):
    gone = listed(told)[3]
    done = told("forget", gone["id"][:12], "--yes")
    assert (done.exit_code, done.stdout) == (0, "forgotten: 1 correction\n")
    assert len(listed(told)) == 11
    assert gone["right"].encode() not in bytes_of(home)
    again = told("forget", gone["id"][:12], "--yes")
    assert (again.exit_code, "corrections list" in again.stderr) == (2, True)


def test_a_domain_is_forgotten_in_every_file(told, filled, home):
    assert told("forget", "--domain", "numbers", "-y").exit_code == 0
    assert b"quicksilver" not in bytes_of(home)
    again = told("forget", "--domain", "numbers", "-y")
    assert (again.exit_code, "no corrections of 'numbers'" in again.stderr) == (2, True)


@pytest.mark.parametrize(
    "words",
    [
        ("list", "--domain", "nubmers"),
        ("export", "out.jsonl", "--domain", "nubmers"),
        ("forget", "--domain", "nubmers", "--yes"),
    ],
)
def test_a_mistyped_domain_is_told_and_not_passed_off_as_an_empty_one(told, filled, words):
    done = told(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Did you mean 'numbers'?" in done.stderr
    assert len(listed(told)) == 12


def test_an_export_says_what_the_list_says_of_the_holdout(told, tmp_path):
    for n in range(12):  # each the only one of its domain: never held out
        path = tmp_path / "one.csv"
        path.write_text(f"prompt,right\nWhat is {n}?,{n}\n")
        told("import", str(path), "--domain", f"numbers{n}")
    rows = told("export", "-").stdout.splitlines()
    assert [json.loads(row)["holdout"] for row in rows] == [False] * 12
    assert [row["holdout"] for row in listed(told)] == [False] * 12


def test_an_export_into_a_folder_that_is_not_there_is_the_callers_fault(told, filled, tmp_path):
    done = told("export", str(tmp_path / "none" / "x.jsonl"))
    assert (done.exit_code, "there is no folder" in done.stderr) == (2, True)


def test_nothing_is_forgotten_before_somebody_agrees(told, filled):
    done = told("forget", "--domain", "numbers")
    assert (done.exit_code, "--yes" in done.stderr) == (2, True)
    for words in ([], ["0" * 64, "--domain", "numbers", "--yes"]):
        assert told("forget", *words).exit_code == 2
    assert len(listed(told)) == 12


def test_what_stays_learnt_is_said_and_a_paused_training_that_knew_it_is_gone(
    call, told, filled, home, base
):
    on = ("--model", base)
    assert call("train", "numbers", "--steps", "2", "--batch", "2", *on).exit_code == 0
    context = open_context(base, NodeConfig(home=home))
    (patch,) = context.on_shelf("own")
    ids = [c.id for c in context.journal.list("numbers", holdout=False)]
    with context.store.writing("a paused training"):
        rows = measure.fitting(context, context.journal.list("numbers", holdout=False)).rows
        session = TrainingSession(
            context.engine, Lessons(tuple(rows), tuple(ids)), Recipe(steps=2), "numbers"
        )
        context.checkpoints.save(context.base, "numbers", session.checkpoint(), 1.0)
        context.offers.add(patch.id, bytes(32))
    said = told("forget", ids[0], "--yes").stdout
    assert "numbers: its paused training is given up" in said
    assert patch.id.hex()[:8] in said
    assert "cannot be called back" in said
    assert context.checkpoints.paused() == ()


def test_a_terminal_of_ascii_keeps_what_was_typed(shell, base, told):
    where = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    words = ("correct", "Wie heißt 15?", "fünfzehn", "--domain", "german", "--model", base)
    assert shell(*words, **where).returncode == 0
    (kept,) = listed(told)
    assert (kept["messages"][0]["content"], kept["right"]) == ("Wie heißt 15?", "fünfzehn")


def test_corrections_that_contradict_each_other_are_shown(told, tmp_path):
    rows = [
        "What is 14?,XIV",
        "what is  14,XIIII",
        "What is 15?,XV",
        "WHAT IS 15 ?,xv.",
        "What is 16?,XVI",
    ]
    path = tmp_path / "in.csv"
    path.write_text("\n".join(["prompt,right", *rows]))
    told("import", str(path), "--domain", "numbers")
    told("import", str(path), "--domain", "others")  # another domain may say otherwise
    done = told("alike", "--domain", "numbers")
    assert done.exit_code == 1
    assert "numbers: 2 corrections contradict each other" in done.stdout
    assert "'XIIII'" in done.stdout
    assert "numbers: 2 corrections say the same twice" in done.stdout
    assert "16" not in done.stdout
    for row in listed(told):
        if row["right"] in ("XIIII", "xv."):
            told("forget", row["id"][:12], "--yes")
    assert told("alike").exit_code == 0
    assert told("alike", "--domain", "nubmers").exit_code == 2
