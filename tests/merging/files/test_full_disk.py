"""A disk that fills up while a folder is written takes nothing away."""

import subprocess
import sys

from hivelearn.patch.peft_config import WEIGHTS_FILE

# In a process of its own: the limit holds for every file, the log of these tests too.
CHILD = """
import resource, sys, torch
import hivelearn as hl
modules = [f"layers.{n}.{'long' * 12}" for n in range(64)]
one = hl.Adapter({m: (torch.ones(4, 40), torch.ones(40, 4)) for m in modules}, 4, 4.0)
for most in (0, 9_000, 40_000):  # the header, weights, the last of the buffer
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    try:
        hl.merge([one, one], out=sys.argv[1])
    except hl.HivelearnError as error:
        print(error.what)
"""


def test_a_disk_that_fills_up_leaves_what_was_there(tmp_path):
    there = tmp_path / "out" / WEIGHTS_FILE
    there.parent.mkdir()
    there.write_bytes(b"before")
    command = [sys.executable, "-c", CHILD, str(there.parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.count("out cannot be written: File too large\n") == 3
    assert there.read_bytes() == b"before"
    assert list(there.parent.iterdir()) == [there]
