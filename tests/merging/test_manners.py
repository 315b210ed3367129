"""How a merge treats its caller: his torch, his adapters and his counting are as he left them."""

import pytest
import torch

from hivelearn.merging.errors import MergeError
from hivelearn.merging.merge import merge
from hivelearn.merging.recipe.method_table import TABLE
from hivelearn.patch.adapter import Adapter

Q, UP = "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj"


def sources(made, method):
    """Return adapters of one A, which every method takes; two for those of a pair."""
    first = made(1, 3)
    return [
        Adapter({m: (a, made(n, 3).factors[m][1]) for m, (a, _) in first.factors.items()}, 3, 2.0)
        for n in range(1, 1 + (TABLE[method].rows_max or 4))
    ]


@pytest.mark.parametrize("method", TABLE)
@pytest.mark.parametrize("state", ["autocast", "float64", "bfloat16", "meta"])
def test_what_the_caller_has_done_to_torch_changes_nothing(made, method, state):
    adapters = sources(made, method)
    plain = merge(adapters, method=method)
    before = torch.get_default_dtype()
    theirs = {"float64": torch.float64, "bfloat16": torch.bfloat16}.get(state, before)
    try:
        torch.set_default_dtype(theirs)
        device = torch.device("meta" if state == "meta" else "cpu")
        with device, torch.autocast("cpu", torch.bfloat16, enabled=state == "autocast"):
            merged = merge(adapters, method=method)
        assert torch.get_default_dtype() == theirs
    finally:
        torch.set_default_dtype(before)
    assert merged.to_bytes() == plain.to_bytes()


def test_an_error_names_the_source_as_the_caller_counts(made):
    adapters = [made(n) for n in range(5)]
    for guilty in range(5):
        a, b = adapters[guilty].factors[Q]
        huge = Adapter({Q: (a * 1e20, b * 1e20), UP: adapters[guilty].factors[UP]}, 4, 8.0)
        given = [*adapters[:guilty], huge, *adapters[guilty + 1 :]]
        with pytest.raises(MergeError, match=f"source {guilty} "):
            merge(given, method="ties")
        densities = [0.5] * 5
        densities[guilty] = 0.95  # with epsilon .15 beyond 1
        with pytest.raises(MergeError, match=f"source {guilty} "):
            merge(adapters, method="della", density=densities)
        weights = [1.0] * 5
        weights[guilty] = -0.1
        with pytest.raises(MergeError, match=f"source {guilty} "):
            merge(adapters, method="karcher", weights=weights, allow_negative=True)


@pytest.mark.parametrize("method", TABLE)
def test_the_global_random_state_is_left_alone(made, method):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    merge(sources(made, method), method=method)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("method", TABLE)
def test_inputs_are_left_as_they_were(made, method):
    adapters = sources(made, method)
    before = [adapter.to_bytes() for adapter in adapters]
    merge(adapters, method=method, weights=[0.3] * len(adapters))
    assert [adapter.to_bytes() for adapter in adapters] == before
