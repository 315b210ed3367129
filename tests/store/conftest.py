"""A home, a store and the small records that the tests of this room share."""

import hashlib

import pytest

from hivelearn.store.correction import Correction, to_conversation
from hivelearn.store.home import Home
from hivelearn.store.shelf import Entry
from hivelearn.store.store import Store

BASE = hashlib.sha256(b"base").digest()


def key(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


@pytest.fixture
def home(tmp_path):
    return Home.open(tmp_path / "home")


@pytest.fixture
def store(home):
    return Store(home)


@pytest.fixture
def correct():
    """Make a correction from a question and the right answer."""

    def make(question, right="XIV", domain="roman", **more):
        fields = {"base": BASE, "created_s": 1.0} | more
        return Correction(to_conversation(question), right, domain, **fields)

    return make


@pytest.fixture
def entry():
    """Make a shelf entry whose id follows from its name."""

    def make(name, **more):
        fields = {
            "id": key(name),
            "author": key("author"),
            "device": key("device"),
            "epoch": 0,
            "seq": int.from_bytes(key(name)[:4], "big"),
            "domain": "roman",
            "base": BASE,
            "envelope": name.encode(),
            "payload": "ab" * 32,
            "state": "quarantined",
            "arrived_s": 1.0,
        }
        return Entry(**(fields | more))

    return make
