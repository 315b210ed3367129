"""A forked child is one more process: it neither holds its parent's lock nor its connection."""

import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).parent / "fork_child.py"
TOLD = """\
child busy: parent
child has no connection
child reads 1
another node is busy: parent
later the child writes
in the end ['after the fork', 'before the fork', 'of the child']
"""


@pytest.mark.skipif(sys.platform == "win32", reason="nothing forks there")
def test_a_forked_child_neither_holds_the_lock_nor_uses_its_parents_connection(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", CHILD, tmp_path / "home"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr, done.returncode) == (TOLD, "", 0)
