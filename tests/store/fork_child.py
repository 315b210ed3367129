"""A writer that forks; run by test_forked.py, in a process of its own without threads.

Prints what the child thinks and does inside its parent's block, after it, and what
is there in the end.
"""

import os
import sys
import traceback
from pathlib import Path

from hivelearn.store.correction import Correction, to_conversation
from hivelearn.store.errors import NotWritingError, WriterBusyError
from hivelearn.store.home import Home
from hivelearn.store.store import Store


def correction(question):
    return Correction(to_conversation(question), "right", "roman", b"b" * 32, created_s=1.0)


def say(what):
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def writes(store):
    try:
        with store.writing("child", wait_s=0.0):
            return "writes"
    except WriterBusyError as error:
        return f"busy: {error.doing}"


def adds(store):
    try:
        store.journal.add([correction("of the child, by the parent's connection")])
    except NotWritingError:
        return "no connection"
    return "wrote"


def in_child(work):
    """Do ``work`` in a forked child that unwinds its parent's blocks and ends as Python does."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - told by the exit code
            traceback.print_exc()
            os._exit(1)
        return True
    _, status = os.waitpid(child, 0)
    if status:
        say(f"the child failed: {status}")
    return False


def inside(store):
    say(f"child {writes(store)}")
    say(f"child has {adds(store)}")
    store.remember(correction("of the child"))
    say(f"child reads {len(store.journal.list())}")


def main(path):
    store = Store(Home.open(Path(path)))
    with store.writing("parent"):
        with store.together():
            store.journal.add([correction("before the fork")])
            if in_child(lambda: inside(store)):
                return store
            store.journal.add([correction("after the fork")])
        say(f"another node is {writes(Store(Home.open(Path(path))))}")
    if in_child(lambda: say(f"later the child {writes(store)}")):
        return store
    with store.writing("parent"):
        store.database.check()
        say(f"in the end {sorted(c.messages[0].content for c in store.journal.list())}")
    return store


if __name__ == "__main__":
    kept = main(sys.argv[1])  # closed by nobody: the interpreter's end must not close it either
