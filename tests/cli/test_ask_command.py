"""`hivelearn ask`: from an argument or standard input, in any locale, with every choice."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hivelearn.cli.app import app
from hivelearn.testing.models import small_model

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(small_model(tmp_path_factory.mktemp("base")))


@pytest.fixture
def piped(home):
    """Call a command with bytes on standard input."""

    def run(raw, *words):
        return CliRunner().invoke(app, [*words, "--home", str(home)], input=raw)

    return run


@pytest.mark.parametrize(
    "raw", [b"Hello\n", b"Hello", b"Hello\r\n", b"\xef\xbb\xbfHello\n"], ids=str
)
def test_a_question_comes_from_standard_input(piped, call, base, raw):
    on = ("--model", base, "--max-new-tokens", "4", "--json")
    assert json.loads(piped(raw, "ask", "-", *on).stdout) == json.loads(
        call("ask", "Hello", *on).stdout
    )


BAD = {
    "nothing": b"",
    "a newline": b"\n",
    "no UTF-8": b"\xff\xfe",
    "binary": bytes(range(128, 256)),
}


@pytest.mark.parametrize("raw", BAD.values(), ids=BAD.keys())
def test_standard_input_that_is_no_question_is_refused(piped, base, raw):
    done = piped(raw, "ask", "-", "--model", base)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "→" in done.stderr


def test_every_choice_of_a_node_is_one_of_the_command(call, base):
    on = ("--model", base, "--max-new-tokens", "8", "--json", "--temperature", "1.5")
    told = json.loads(call("ask", "Hello", *on, "--seed", "3").stdout)
    assert told["finish_reason"] == "length"
    assert told["answer_tokens"] == 8
    stop = told["text"][2:4]
    ended = json.loads(call("ask", "Hello", *on, "--seed", "3", "--stop", stop).stdout)
    assert ended["finish_reason"] == "stop_string"
    assert ended["text"] == told["text"][: told["text"].index(stop)]
    greedy = json.loads(call("ask", "Hello", *on, "--top-k", "1", "--top-p", "0.9").stdout)
    assert greedy["text"] == json.loads(call("ask", "Hello", *on[:-2]).stdout)["text"]
    bad = call("ask", "Hello", "--model", base, "--top-p", "2")
    assert (bad.exit_code, "top_p" in bad.stderr) == (2, True)


def test_a_mistyped_domain_is_told(call, base):
    call("correct", "14?", "XIV", "--domain", "roman", "--model", base)
    done = call("ask", "14?", "--domain", "roamn", "--model", base)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "nothing here is about 'roamn'\n→ Did you mean 'roman'?\n"


def test_the_home_remembers_its_model_between_commands(call, base):
    call("correct", "14?", "XIV", "--domain", "roman", "--model", base)
    status = json.loads(call("status", "--json").stdout)
    assert status["remembers"] == base
    assert status["base"] == json.loads(call("status", "--json", "--model", base).stdout)["base"]
    asked = ("ask", "Hello", "--max-new-tokens", "4", "--json")
    assert call(*asked).stdout == call(*asked, "--model", base).stdout


def test_in_a_locale_of_ascii_letters_are_what_was_typed(home, base, tmp_path):
    elsewhere = tmp_path / "Größe"
    elsewhere.symlink_to(base)

    def run(*words):
        return subprocess.run(
            [sys.executable, "-m", "hivelearn", *words, "--home", str(home)],
            capture_output=True,
            timeout=60,
            check=False,
            env=os.environ | ASCII | {"OMP_NUM_THREADS": "1"},
        )

    question = ("Wie heißt 14 auf römisch?", "XIV – vierzehn", "--domain", "roman")
    kept = run("correct", *question, "--model", str(elsewhere))
    assert kept.returncode == 0
    told = f"A new home was made in {home}, for the model {Path(base).name}\n"
    assert kept.stderr == told.encode()
    asked = run("ask", question[0], "--max-new-tokens", "4", "--domain", "roman")
    assert asked.returncode == 0, asked.stderr
    from hivelearn.node.config import NodeConfig
    from hivelearn.node.context import open_context

    (correction,) = open_context(None, NodeConfig(home=home)).journal.list()
    assert correction.messages[0].content == question[0]
    assert correction.right == question[1]


POISON = "raise SystemExit('it ran')\n"


def test_the_code_of_a_folder_runs_only_by_the_users_word(call, base, tmp_path):
    folder = small_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "abacus", "auto_map": {"AutoConfig": "poison.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "poison.py").write_text(POISON)
    done = call("ask", "Hello", "--model", str(folder))
    assert done.exit_code == 2
    assert "--trust-remote-code" in done.stderr
