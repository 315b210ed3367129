"""A small engine and a dozen corrections as examples."""

import pytest

from hivelearn.inference.loading import load_model
from hivelearn.inference.resident import ResidentEngine
from hivelearn.testing.models import small_model
from hivelearn.training.recipe import Recipe


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="session")
def engine(folder):
    return ResidentEngine(load_model(folder, "cpu"), bytes(range(32)))


@pytest.fixture(scope="session")
def engine_of(tmp_path_factory):
    """Return a function from family to a small engine of it."""

    def get(family):
        folder = small_model(tmp_path_factory.mktemp(family), family)
        return ResidentEngine(load_model(folder, "cpu"), bytes(range(32)))

    return get


@pytest.fixture(scope="session")
def examples(engine):
    return [engine.encoder.pair(f"Write {n} in words.", f"{n} is {n * n}") for n in range(12)]


@pytest.fixture
def recipe():
    return Recipe(rank=2, alpha=4.0, steps=6, batch=5, pass_tokens=160, rate=0.01)
