"""Small engines of every family, opened once; adapters with a B that is not zero."""

import pytest
import torch

from hivelearn.inference.loading import load_model
from hivelearn.inference.model_folder import resolve_model
from hivelearn.inference.resident import ResidentEngine
from hivelearn.patch.adapter import Adapter
from hivelearn.testing.models import FAMILIES, small_model

BASE = bytes(32)


@pytest.fixture(scope="session")
def engine_of(tmp_path_factory):
    """Return a function from family to (folder, engine)."""
    opened = {}

    def get(family):
        if family not in opened:
            folder = small_model(tmp_path_factory.mktemp(family), family)
            opened[family] = (folder, ResidentEngine(load_model(folder, "cpu"), BASE))
        return opened[family]

    return get


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def engine(engine_of, family):
    return engine_of(family)[1]


@pytest.fixture(scope="session")
def llama(engine_of):
    return engine_of("llama")[1]


@pytest.fixture(scope="session")
def nano():
    return ResidentEngine(load_model(resolve_model(None), "cpu"), BASE)


def random_adapter(engine, seed=0, rank=3, size=0.05, dtype=torch.float32):
    chance = torch.Generator().manual_seed(seed)
    factors = {
        name: (
            (torch.randn(rank, d_in, generator=chance) * size).to(dtype),
            (torch.randn(d_out, rank, generator=chance) * size).to(dtype),
        )
        for name, (d_out, d_in) in engine.shapes().items()
    }
    return Adapter(factors, rank, 2.0 * rank, engine.base)


@pytest.fixture(scope="session")
def adapter_for():
    return random_adapter
