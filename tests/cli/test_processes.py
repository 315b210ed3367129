"""What only real processes show: what they load, a busy home, Ctrl-C, two nodes on loopback."""

import json
import re
import signal
import time

import psutil
import pytest
import torch

from hivelearn.demo import tasks
from hivelearn.node.config import NodeConfig
from hivelearn.node.context import open_context
from hivelearn.store.correction import Correction, to_conversation
from hivelearn.store.home import Home
from hivelearn.testing.models import small_model

LOOPBACK = ("--listen", "127.0.0.1:0", "--no-discover")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    torch.set_num_threads(1)
    return str(small_model(tmp_path_factory.mktemp("base")))


def taught(base, home, count=40):
    context = open_context(base, NodeConfig(home=home))
    with context.store.writing("teach"):
        for at, row in enumerate(tasks.corrections(tasks.ROMAN, seed=0, n=count)):
            question = to_conversation(row.prompt)
            kept = Correction(question, row.answer, "roman", base=context.base, created_s=float(at))
            context.store.remember(kept)
    return context


@pytest.mark.parametrize("words", [("status",), ("--help",), ("train", "--help")])
def test_status_and_help_load_nothing_that_takes_seconds(words, shell, home):
    Home.open(home)
    # How long they take is measured in benchmarks/; what would make it long is known here.
    told = shell(*words, PYTHONPROFILEIMPORTTIME="1")
    assert told.returncode == 0
    loaded = set(re.findall(r"\| +(\w+)$", told.stderr, re.MULTILINE))
    assert {"hivelearn", "typer"} <= loaded
    assert not loaded & {"torch", "transformers", "peft", "accelerate", "datasets", "matplotlib"}


def test_a_busy_home_can_be_asked_and_corrected_but_not_trained(started, call, until, base, home):
    context = taught(base, home)
    on = ("--model", base)
    with started("train", "roman", "--steps", "1000000", *on) as child:
        until(lambda: context.home.lock.holder()[1] == "train roman")
        busy = call("train", "roman", "--steps", "1", *on)
        assert busy.exit_code == 4
        assert f"process {child.pid} is writing" in busy.stderr
        assert "train roman" in busy.stderr
        assert call("correct", "15?", "XV", "--domain", "roman", *on).exit_code == 0
        assert call("ask", "15?", "--max-new-tokens", "2", *on).exit_code == 0
        status = json.loads(call("status", "--json", *on).stdout)
        assert status["writer"] == f"process {child.pid}: train roman"
        (row,) = status["domains"]
        assert row["training"] + row["holdout"] == 41
        doctor = call("doctor", *on)
        assert doctor.exit_code == 0
        assert f"process {child.pid} writes now: train roman" in doctor.stdout
        assert child.poll() is None


def test_ctrl_c_keeps_what_was_learnt_and_the_same_command_goes_on(
    started_aloud, call, interrupt, base, home
):
    context = taught(base, home)
    words = ("train", "roman", "--steps", "400", "--batch", "8", "--model", base)
    with started_aloud(*words) as child:
        assert child.stdout.readline()  # the permit for the first step
        time.sleep(1.0)  # most of the steps are left
        code, out, err = interrupt(child)
    assert (code, out) == (130, "")
    assert err.strip() == (
        "Stopped. What was learnt so far is kept; the same command goes on from there."
    )
    checkpoint = context.checkpoints.load(context.base, "roman")
    assert checkpoint is not None
    size = int.from_bytes(checkpoint[:8], "little")
    about = json.loads(json.loads(checkpoint[8 : 8 + size])["__metadata__"]["session"])
    assert 0 < about[2] < 400
    report = json.loads(call(*words, "--json").stdout)
    assert (report["steps"], report["adopted"]) == (400, True)
    assert context.checkpoints.load(context.base, "roman") is None


def test_ctrl_c_in_a_join_is_calm_and_the_home_is_free_again(
    started, shell, until, interrupt, base, home
):
    with started("join", "roman", *LOOPBACK, "--wait", "60", "--model", base) as child:
        assert child.stdout.readline().startswith("listening on hl1")
        code, _, err = interrupt(child)
    assert (code, err.splitlines()[-1]) == (130, "Stopped. What had arrived is kept.")
    context = open_context(base, NodeConfig(home=home))
    with context.store.writing("after", wait_s=0.0):
        pass


def test_two_command_lines_exchange_a_patch(started, call, base, home, tmp_path):
    taught(base, home)
    on, there = ("--model", base), {"home": tmp_path / "other"}
    assert call("train", "roman", "--steps", "3", *on).exit_code == 0
    me = json.loads(call("status", "--json", *on).stdout)["key"]
    with started("join", "roman", *LOOPBACK, "--publish", "--wait", "60", *on) as child:
        address = re.fullmatch(r"listening on (\S+)\n", child.stdout.readline())[1]
        assert re.fullmatch(r"roman: published [0-9a-f]{8}\n", child.stdout.readline())
        met = call("join", "roman", *LOOPBACK, "--peer", address, "--wait", "4", *on, **there)
    assert met.exit_code == 0, met.stderr
    assert "roman: 1 in quarantine; judge with `hivelearn adopt roman`" in met.stdout
    unknown = call("adopt", "roman", *on, **there)
    assert unknown.exit_code == 1, unknown.stdout  # nobody vouched for its author
    assert call("vouch", me, *on, **there).exit_code == 0
    adopted = call("adopt", "roman", *on, **there)
    assert adopted.exit_code == 0, adopted.output
    assert "admitted as expert" in adopted.stdout


@pytest.mark.parametrize(
    "press", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda each: each.name
)
def test_a_stopped_demonstration_ends_at_once_and_leaves_no_child(started, until, tmp_path, press):
    with started("demo", TMPDIR=str(tmp_path)) as parent:
        while "expert teaches clock12" not in parent.stdout.readline():
            pass
        children = psutil.Process(parent.pid).children()
        assert len(children) == 3
        parent.send_signal(press)  # in the middle of the first exam
        parent.communicate(timeout=60)
        assert parent.returncode == (130 if press == signal.SIGINT else -press)
        until(lambda: not any(child.is_running() for child in children), seconds=60)
    assert list(tmp_path.glob("hivelearn-demo-*")) == []
