"""Recompression and stacking against PEFT's ``add_weighted_adapter``, delta by delta.

Deltas, never factors: PEFT's factors of the same delta are others. Its ``linear``
is left out, since it is not the weighted sum (relative error 1.67).
"""

import peft
import pytest
import torch

from hivelearn.merging.lowrank.factors import Size
from hivelearn.merging.lowrank.truncate import truncate

RANKS = {"one": 4, "two": 6, "three": 2}
WEIGHTS = (0.5, 0.9, 0.2)


@pytest.fixture(scope="module")
def model():
    """Return a PEFT model of one linear layer (20, 24) with three random adapters."""
    torch.manual_seed(3)
    made = None
    for name, rank in RANKS.items():
        config = peft.LoraConfig(r=rank, lora_alpha=8, target_modules=["0"])
        if made is None:
            bare = torch.nn.Sequential(torch.nn.Linear(24, 20))
            made = peft.get_peft_model(bare, config, adapter_name=name)
        else:
            made.add_adapter(name, config)
    layer = made.base_model.model[0]
    for name in RANKS:
        torch.nn.init.normal_(layer.lora_B[name].weight)
    return made


@pytest.mark.parametrize(("how", "rank"), [("svd", 3), ("svd", 8), ("cat", 12)])
def test_svd_and_cat_are_the_same_deltas(model, how, rank):
    model.add_weighted_adapter(
        list(RANKS), list(WEIGHTS), f"{how}{rank}", combination_type=how, svd_rank=rank
    )
    layer = model.base_model.model[0]
    with torch.no_grad():
        theirs = layer.get_delta_weight(f"{how}{rank}")
        made = truncate(
            torch.cat([layer.lora_A[name].weight for name in RANKS]),
            torch.cat([layer.lora_B[name].weight for name in RANKS], dim=1),
            Size(rank),
            scales=torch.tensor(
                [
                    weight * 8 / rank
                    for weight, rank in zip(WEIGHTS, RANKS.values(), strict=True)
                    for _ in range(rank)
                ]
            ),
        )
    assert float((made.b @ made.a - theirs).norm() / theirs.norm()) < 1e-5
