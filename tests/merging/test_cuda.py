"""Models on a GPU merge as on the CPU: factors are fetched, deltas go to where the weights are."""

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM

from hivelearn.merging.into_model import merge_into
from hivelearn.merging.merge import merge
from hivelearn.merging.recipe.recipe import MergeRecipe
from hivelearn.testing.models import small_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return small_model(tmp_path_factory.mktemp("base") / "llama", "llama")


@pytest.fixture(scope="module")
def opened(base):
    """Return two open PEFT models on the GPU and the same two on the CPU."""

    def one(seed, device):
        torch.manual_seed(seed)
        config = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
        return peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).to(device)

    return [[one(seed, device) for seed in (1, 2)] for device in ("cuda", "cpu")]


@pytest.mark.parametrize("method", ["linear", "karcher", "ties", "core_ties", "dare_linear"])
def test_open_models_on_a_gpu_merge_bit_for_bit_as_on_the_cpu(opened, method):
    there, here = (merge(models, method=method) for models in opened)
    assert there.to_bytes() == here.to_bytes()
    with torch.device("cuda"):
        assert merge(opened[0], method=method).to_bytes() == here.to_bytes()


@pytest.mark.parametrize("method", ["linear", "ties"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_model_on_a_gpu_takes_the_deltas_where_it_is(base, opened, method, dtype):
    def merged(device):
        model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype).to(device)
        return merge_into(model, opened[1], MergeRecipe(method))

    there, here = merged("cuda"), merged("cpu")
    assert {weight.device.type for weight in there.parameters()} == {"cuda"}
    for (name, one), other in zip(there.named_parameters(), here.parameters(), strict=True):
        assert torch.equal(one.cpu(), other), name
