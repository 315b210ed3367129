"""Many hands on one home: a process trains, another asks, corrects and looks; kill -9."""

import asyncio
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from hivelearn.store.errors import WriterBusyError

CHILD = Path(__file__).with_name("train_child.py")


def test_a_killed_training_goes_on_bit_for_bit_and_others_worked_meanwhile(make, folder, kit):
    recipe = replace(kit.TINY, steps=40)
    node, calm = make("home"), make("calm")
    for each in (node, calm):
        kit.teach(each, "yes", "yes yes")
    child = subprocess.Popen(
        [sys.executable, CHILD, folder, node.home], stdout=subprocess.PIPE, text=True
    )
    try:
        for _ in range(4):
            assert child.stdout.readline() == "step\n"
        with pytest.raises(WriterBusyError, match="train yes") as caught:
            node.train("yes")
        assert caught.value.pid == child.pid
        answer = node.ask("What is five?", max_new_tokens=2)
        left = answer.correct("cinq", domain="other")
        assert left in node.corrections.list("other")
        status = node.status()
        assert status.writer == f"process {child.pid}: train yes"
        assert [d.domain for d in status.domains] == ["other", "yes"]
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    assert node.status().writer is None  # its name is still there, its lock is not
    assert node.status().domains[1].paused
    patch = node.train("yes", recipe)
    calm_patch = calm.train("yes", recipe)
    assert patch.adapter.to_bytes() == calm_patch.adapter.to_bytes()
    assert node.last_training.steps == 40
    assert node.context.store.inbox.waiting() == ()  # drained by the next writer
    assert left in node.corrections.list("other")


def test_everything_works_inside_asyncio(make, kit):
    node = make()
    kit.teach(node, "yes", "yes yes")

    async def day():
        texts, patch = await asyncio.gather(
            asyncio.gather(
                *(asyncio.to_thread(node.ask, f"{n}?", max_new_tokens=2) for n in "abc")
            ),
            asyncio.to_thread(node.train, "yes"),
        )
        pieces = await asyncio.to_thread(lambda: list(node.stream("a?", max_new_tokens=4)))
        return texts, patch, pieces

    texts, patch, pieces = asyncio.run(day())
    assert len(texts) == 3
    assert patch.domain == "yes"
    assert "".join(pieces) == node.ask("a?", max_new_tokens=4).text


def test_threads_ask_while_one_trains_and_the_patch_is_bit_equal(make, kit):
    quiet, busy = make("quiet"), make("busy")
    for node in (quiet, busy):
        kit.teach(node, "yes", "yes yes")
    stop, failed = threading.Event(), []

    def ask():
        while not stop.is_set():
            try:
                busy.ask("What is two?", max_new_tokens=2, temperature=0.9)
            except Exception as error:  # noqa: BLE001 - whatever it is, the test fails
                failed.append(error)
                return

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    patch = busy.train("yes")
    stop.set()
    for thread in threads:
        thread.join()
    assert not failed
    assert patch.adapter.to_bytes() == quiet.train("yes").adapter.to_bytes()
