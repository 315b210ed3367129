"""A node's evening in one process, killed at a given point; run by test_crash.py.

Prints one line per step that was acknowledged, and with no point to die at the
names of all points passed.
"""

import hashlib
import os
import signal
import sys
from pathlib import Path

from hivelearn.store.correction import Correction, to_conversation
from hivelearn.store.generations import Generation, Served
from hivelearn.store.home import Home
from hivelearn.store.shelf import Entry
from hivelearn.store.store import Store

BASE, DEVICE, PATCH, SWARM = b"b" * 32, b"d" * 32, b"p" * 32, b"s" * 32
PAYLOAD = b"payload" * 1000


class Points:
    """Counts crash points and dies at one of them."""

    def __init__(self, die_at):
        self.die_at, self.passed = die_at, []

    def __call__(self, name):
        self.passed.append(name)
        if len(self.passed) == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)


def correction(n, right="right", domain="roman"):
    return Correction(to_conversation(f"{n}?"), right, domain, BASE, created_s=float(n))


def say(step):
    sys.stdout.write(step + "\n")
    sys.stdout.flush()


def evening(store):
    store.remember(correction(1))
    say("remembered 1")
    store.remember(correction(2, "quicksilver", "secret"))
    say("remembered 2")
    with store.writing("the evening"):
        say("drained")
        place = store.feeds.claim(SWARM, DEVICE, 1.0)
        epoch, seq = place.epoch, place.seq
        say(f"place {epoch} {seq}")
        blob = store.blobs.put(PAYLOAD)
        store.shelf.add(
            Entry(PATCH, b"a" * 32, DEVICE, epoch, seq, "roman", BASE, b"env", blob, "own", 1.0)
        )
        say("shelved")
        served = Served(PATCH, blob, b"a" * 32)
        store.generations.commit(Generation(BASE, "roman", served, (), "train", 1.0))
        say("committed")
        store.checkpoints.save(BASE, "roman", b"first checkpoint", 1.0)
        say("paused 1")
        store.checkpoints.save(BASE, "roman", b"second checkpoint", 2.0)
        say("paused 2")
        partial = store.blobs.partial(hashlib.sha256(b"fetched").hexdigest())
        partial.write_bytes(b"fetched")
        store.blobs.adopt(partial, partial.name)
        say("adopted")
        say("forgetting")
        store.journal.forget(domain="secret")
        say("forgotten")


if __name__ == "__main__":
    points = Points(int(sys.argv[2]))
    evening(Store(Home.open(Path(sys.argv[1])), reached=points))
    say(f"points {len(points.passed)}")
