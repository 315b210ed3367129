"""Small nodes in homes of their own, with a clock, sensors and sleep that a test moves."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from hivelearn.device.reading import Reading, known
from hivelearn.node import own_records
from hivelearn.node.context import Environment
from hivelearn.node.node import Node
from hivelearn.node.share.library import Library
from hivelearn.patch.notice import read_envelope
from hivelearn.store.correction import is_holdout, prompt_hash, to_conversation
from hivelearn.store.shelf import Entry
from hivelearn.testing.models import small_model
from hivelearn.training.recipe import Recipe

torch.set_num_threads(1)
NOW_S = 1_700_000_000.0
TINY = Recipe(rank=2, alpha=4.0, steps=8, batch=8, pass_tokens=512, rehearsal=0.0, rate=0.03)


def at(celsius: float) -> Reading:
    """Return the reading of a desktop that nobody uses and whose CPU has this temperature."""
    return Reading(
        cpu_c=known(celsius),
        idle_s=known(1e6),
        has_battery=known(False),
        on_mains=known(True),
    )


@dataclass
class Stage:
    """What surrounds a node. Time passes by sleeping, and ``tick_s`` at every look at the clock."""

    read: Callable[[], Reading] = lambda: at(50.0)
    tick_s: float = 11.0  # longer than a reading is good for: sensors are read before each step
    slept: list[float] = field(default_factory=list)
    _now: float = 0.0

    def monotonic(self) -> float:
        self._now += self.tick_s
        return self._now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._now += seconds

    def environment(self) -> Environment:
        return Environment(
            clock=lambda: NOW_S, monotonic=self.monotonic, sleep=self.sleep, read=self._read
        )

    def _read(self) -> Reading:
        return self.read()  # looked up late, so that a test may change it


def prompts(about: str, n: int, *, held: bool) -> list[str]:
    """Return ``n`` different questions that are all held out, or all to be trained on."""
    texts = (f"What is {about} {i}?" for i in count())
    chosen = (t for t in texts if is_holdout(prompt_hash(to_conversation(t))) == held)
    return [next(chosen) for _ in range(n)]


def teach(node: Node, domain: str, right: str, train: int = 16, held: int = 0) -> None:
    """Correct so many questions of a domain, all with the same right answer."""
    with node.context.store.writing("teach"):
        for side, n in ((False, train), (True, held)):
            for text in prompts(domain, n, held=side):
                node.correct(text, right, domain=domain)


def notice_of(patch):
    """Return a patch's notice, as the swarm brings it."""
    return read_envelope(patch.envelope, now_s=NOW_S)


def send(patch, node: Node, relay: bytes = b""):
    """Bring a patch to a node as the swarm would, told of by ``relay``; was it wanted?"""
    context = node.context
    library = Library(context)
    library.open(bytes(32), patch.domain)
    notice = notice_of(patch)
    if not library.wants(bytes(32), notice, relay):
        return False
    with context.store.writing("receive"):
        library.partial(notice).write_bytes(patch.adapter.to_bytes())
        library.accept(notice, library.partial(notice))
    return True


def distinct(adapter, number: int, share: float = 0.5):
    """Return an update of its own: ``adapter`` with noise of that share of each module's norm."""

    def shaken(b, seed):
        noise = torch.randn(b.shape, generator=torch.Generator().manual_seed(seed))
        return b + share * noise * b.norm() / noise.norm()

    factors = {
        module: (a, shaken(b, 100 * number + place))
        for place, (module, (a, b)) in enumerate(adapter.factors.items())
    }
    return replace(adapter, factors=factors)


def sign(node: Node, adapter, domain: str = "yes"):
    """Return ``adapter`` as the next record of a node's feed."""
    with node.context.store.writing("sign"):
        return own_records.sign(node.context, adapter, domain)


def prove(node: Node, author: bytes, domain: str, count: int = 5) -> None:
    """Put so many distinct successes of an author on a node's shelf."""
    context = node.context if isinstance(node, Node) else node
    with context.store.writing("prove"):
        for number in range(count):
            name = hashlib.sha256(author + domain.encode() + bytes([number])).digest()
            entry = Entry(
                id=name, author=author, device=name, epoch=0, seq=1, domain=domain,
                base=bytes(32), envelope=b"x", payload=name.hex(), state="sandboxed", arrived_s=0.0,
            )  # fmt: skip
            context.shelf.add(entry)
            context.store.reputation.hear({entry.id: "success"})
            context.store.reputation.amend({entry.id: "success"})


@pytest.fixture(scope="session")
def kit():
    """Return the helpers above: test files cannot import one another."""
    return SimpleNamespace(
        at=at,
        Stage=Stage,
        prompts=prompts,
        teach=teach,
        send=send,
        sign=sign,
        distinct=distinct,
        prove=prove,
        notice=notice_of,
        TINY=TINY,
        NOW_S=NOW_S,
    )


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    return small_model(tmp_path_factory.mktemp("base"))


def open_node(folder: Path, home: Path, stage: Stage | None = None, **settings) -> Node:
    """Return a node on a small model with small settings."""
    given = {"recipe": TINY, "base_texts": 24, "device": "cpu", "progress": False} | settings
    return Node(folder, home=home, environment=(stage or Stage()).environment(), **given)


@pytest.fixture
def make(folder, tmp_path) -> Callable[..., Node]:
    """Return a function that opens a node in a home called ``name``."""

    def get(name="home", stage=None, model=folder, **settings):
        return open_node(model, tmp_path / name, stage, **settings)

    return get


@pytest.fixture(scope="session")
def author(folder, tmp_path_factory):
    """A node that has learnt "yes" well, and its patch. Shared: tests only read it and sign."""
    node = open_node(folder, tmp_path_factory.mktemp("author") / "home")
    teach(node, "yes", "yes yes", 24, 24)
    return node, node.train("yes", replace(TINY, steps=16))


@pytest.fixture
def beginner(make, kit):
    """Return a function to a node that has learnt "yes" a little and can judge it."""

    def get(name="beginner", held=24):
        node = make(name)
        kit.teach(node, "yes", "yes yes", 16, held)
        node.train("yes", replace(kit.TINY, steps=2))
        assert node.last_training.adopted
        return node

    return get
