"""Small models are real: opened by the same code as any other, equal for equal seeds."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hivelearn.errors import UsageError
from hivelearn.patch import fingerprint
from hivelearn.testing.models import FAMILIES, small_model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_small_model_opens_as_its_family(family, tmp_path, capfd):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    folder = small_model(tmp_path / "m", family)
    assert torch.equal(torch.rand(2), expected)  # the caller's chance is left alone
    assert capfd.readouterr() == ("", "")
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.model_type == family
    assert tokenizer.is_fast
    assert (tokenizer.chat_template is None) == (family == "gpt2")
    assert model.config.eos_token_id == tokenizer.eos_token_id
    text = "Zürich: 14 → XIV, 漢字\n"
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_equal_seeds_make_one_base_and_other_seeds_another(tmp_path):
    def base(name, seed):
        return fingerprint.of_folder(small_model(tmp_path / name, seed=seed))

    assert base("a", 0) == base("b", 0) != base("c", 1)


def test_a_family_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    with pytest.raises(UsageError, match="'phi'") as caught:
        small_model(tmp_path, "phi")
    assert "llama" in caught.value.remedy
