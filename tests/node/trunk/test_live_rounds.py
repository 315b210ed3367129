"""Real processes over a real local network end with one trunk, whoever is killed, late or gone."""

import json
import queue
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.proof  # two minutes, most of them waiting

CHILD = Path(__file__).with_name("live_child.py")
PATIENCE_S = 90.0


class Child:
    """One node in a process, and what it has told last."""

    def __init__(self, model, home, number, port):
        self.args = [sys.executable, CHILD, model, home, str(number), str(port)]
        self.key, self.trunk, self.height = "", "", 0
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            self.args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.told = queue.Queue()
        self.hearing = threading.Thread(target=self._hear, args=(self.process,), daemon=True)
        self.hearing.start()
        self.key = self.told.get(timeout=PATIENCE_S)["key"]

    def _hear(self, process):
        for line in process.stdout:
            told = json.loads(line)
            if "trunk" in told and process is self.process:
                self.trunk, self.height = told["trunk"], told["height"]
            elif "trunk" not in told:
                self.told.put(told)

    def meet(self, keys, ports):
        self.process.stdin.write(json.dumps({"keys": keys, "ports": ports}) + "\n")
        self.process.stdin.flush()

    def kill(self):
        self.process.kill()
        self._close()

    def _close(self):
        self.process.wait(PATIENCE_S)
        self.hearing.join(PATIENCE_S)
        self.process.stdin.close()
        self.process.stdout.close()

    def end(self):
        """Let it stop by itself; return what went wrong in it."""
        self.process.stdin.close()
        told = self.told.get(timeout=PATIENCE_S)
        self._close()
        return told["errors"]


def until(holds, what):
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, f"it did not come to pass: {what}"
        time.sleep(0.05)


@pytest.fixture
def ports():
    found = []
    for _ in range(4):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            found.append(free.getsockname()[1])
    return found


@pytest.fixture
def children(folder, tmp_path, ports):
    made = [Child(folder, tmp_path / f"n{n}", n, port) for n, port in enumerate(ports)]
    yield made
    for child in made:
        if child.process.poll() is None:
            child.kill()


def test_all_end_with_one_trunk_whoever_is_killed_comes_late_or_leaves(children, ports):
    first, killed, leaves, late = children
    keys = [child.key for child in children]
    for child in (first, killed, leaves):
        child.meet(keys, ports)
    for height in (1, 2, 3):  # it is killed in each round, and comes back
        until(lambda h=height: first.height >= h, f"round {height}")
        killed.kill()
        killed.start()
        killed.meet(keys, ports)
    leaves.kill()
    late.meet(keys, ports)
    stay, at = (first, killed, late), first.height
    until(lambda: late.height > at, "the late one takes up what the others have come to")
    until(
        lambda: len({child.trunk for child in stay}) == 1 and first.height > at + 1,
        "all end with one trunk",
    )
    assert [child.end() for child in stay] == [[], [], []]
