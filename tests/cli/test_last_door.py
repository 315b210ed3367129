"""Whatever goes wrong ends in two lines, a code that README lists and a remedy that exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hivelearn.cli.app import app
from hivelearn.cli.command import DONE, HUNG_UP, INTERRUPTED, NO_LIFT, OUR_BUG, exit_code_of
from hivelearn.errors import DeviceError, PeerError, UsageError

ROOT = Path(__file__).parent.parent.parent
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")


def fails(error):
    def run():
        raise error

    return lambda: exit_code_of(run, "Nothing was changed.")


WRONG = {
    "a bug": (TypeError("a\nb"), 70, "a bug of ours: TypeError: a b\n→ Run it again with HIVE"),
    "no memory": (MemoryError(), 4, "this machine refused: MemoryError:\n→ Run `hivelearn doc"),
    "no disk": (OSError(28, "No space left", "/x"), 4, "this machine refused: OSError: [Errno 28]"),
    "no letter": (UnicodeEncodeError("ascii", "→", 0, 1, "x"), 70, "a bug of ours: UnicodeEncode"),
    "a peer": (PeerError("bad", remedy="Wait."), 3, "bad\n→ Wait."),
}


@pytest.mark.parametrize(("error", "code", "said"), WRONG.values(), ids=WRONG.keys())
def test_whatever_goes_wrong_is_told_in_two_lines(error, code, said, capsys):
    assert fails(error)() == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(said)
    assert err.count("\n") == 2


def test_who_asks_for_it_sees_where_a_bug_came_from(capsys, monkeypatch):
    monkeypatch.setenv("HIVELEARN_DEBUG", "1")
    assert fails(TypeError("odd"))() == OUR_BUG
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_who_has_gone_is_no_error_to_tell(capsys):
    assert fails(BrokenPipeError())() == HUNG_UP
    assert capsys.readouterr() == ("", "")


def test_every_exit_code_of_the_readme_is_the_one_that_is_returned():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"(\d+) ([a-z ]+)", readme.partition("Exit codes: ")[2].partition("(")[0])
    blame = [kind.exit_code for kind in (UsageError, PeerError, DeviceError)]
    assert [int(code) for code, _ in listed] == [DONE, NO_LIFT, *blame, OUR_BUG, INTERRUPTED]


def test_every_command_that_a_sentence_names_exists():
    commands = {each.name for each in (*app.registered_commands, *app.registered_groups)}
    for path in [ROOT / "README.md", *sorted((ROOT / "hivelearn").rglob("*.py"))]:
        named = set(re.findall(r"`hivelearn ([a-z]+)", path.read_text(encoding="utf-8")))
        assert named <= commands, path


def test_a_question_that_is_no_text_is_the_callers_fault(shell):
    done = shell("ask", "\udcff\udcfe")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("character U+DCFF is no text\n→ Give a string")


def test_a_terminal_of_ascii_alone_shows_question_marks(shell):
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    asked = shell("ask", "", **ascii_alone)
    assert (asked.returncode, asked.stderr.splitlines()[1][:6]) == (2, "? Writ")
    shell("correct", "14?", "XIV", "--domain", "roman", **ascii_alone)
    status = shell("status", **ascii_alone)
    assert (status.returncode, status.stderr) == (0, "")
    assert "roman" in status.stdout


@FULL
def test_a_full_disk_behind_stdout_is_this_machines_fault():
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device, opened as a shell does
        done = subprocess.run(
            [sys.executable, "-m", "hivelearn", "--help"],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 4
    assert done.stderr.startswith("this machine refused: OSError: [Errno 28]")
    assert done.stderr.count("\n") == 2
