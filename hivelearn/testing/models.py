"""Small models of real architectures, saved as folders that ``from_pretrained`` opens.

Weights are random and seeded: good for shapes, bits and laws, not for sense.
Each family has a tokenizer trained here (byte-level BPE) and the chat format
that its real relatives use; GPT-2 has none, as in life.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from hivelearn.errors import UsageError
from hivelearn.inference.loading import quiet
from hivelearn.printable import shown

CHATML: Final = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3: Final = (
    "{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n'"
    " + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{% endif %}"
)
GEMMA: Final = (
    "{{ bos_token }}{% for m in messages %}{% set role = 'model' if m['role'] == 'assistant' else"
    " m['role'] %}{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
_TEXT: Final = (
    "the quick brown fox jumps over the lazy dog and writes numbers in words and letters "
    "please say what the answer to this question is when somebody asks for the time of day"
)


def _llama(**size: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(num_key_value_heads=2, **size)


def _qwen3(**size: Any) -> Any:
    from transformers import Qwen3Config

    return Qwen3Config(num_key_value_heads=2, head_dim=16, tie_word_embeddings=True, **size)


def _gemma(**size: Any) -> Any:
    from transformers import GemmaConfig

    return GemmaConfig(num_key_value_heads=1, head_dim=16, **size)


def _mistral(**size: Any) -> Any:
    from transformers import MistralConfig

    return MistralConfig(num_key_value_heads=2, sliding_window=64, **size)


def _gpt2(**size: Any) -> Any:
    from transformers import GPT2Config

    renamed = {"hidden_size": "n_embd", "num_hidden_layers": "n_layer"}
    renamed |= {"num_attention_heads": "n_head", "max_position_embeddings": "n_positions"}
    renamed |= {"intermediate_size": "n_inner"}
    return GPT2Config(**{renamed.get(key, key): value for key, value in size.items()})


_FAMILIES: Mapping[str, tuple[Callable[..., Any], str | None, tuple[str, ...]]] = {
    "llama": (_llama, LLAMA3, ("<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>")),
    "qwen3": (_qwen3, CHATML, ("<|im_end|>", "<|im_start|>")),
    "mistral": (_mistral, CHATML, ("<|im_end|>", "<|im_start|>")),
    "gemma": (_gemma, GEMMA, ("<end_of_turn>", "<start_of_turn>", "<bos>")),
    "gpt2": (_gpt2, None, ("<|endoftext|>",)),
}
FAMILIES: Final = tuple(_FAMILIES)


def small_model(folder: str | Path, family: str = "llama", seed: int = 0, width: int = 32) -> Path:
    """Save a small random model of ``family`` with its tokenizer; return the folder.

    Args:
        folder: made if missing.
        family: one of ``FAMILIES``.
        seed: of the weights; two seeds are two bases with two fingerprints.
        width: hidden size, a multiple of 2.

    Raises:
        UsageError: no such family; the remedy names all.
    """
    from transformers import AutoModelForCausalLM

    if family not in FAMILIES:
        raise UsageError(
            f"there is no small model of the family {shown(family)}",
            remedy=f"There are: {', '.join(FAMILIES)}.",
        )
    make, template, marks = _FAMILIES[family]
    tokenizer = _tokenizer(template, marks)
    config = make(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with quiet():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Path(folder)


def _tokenizer(template: str | None, marks: tuple[str, ...]) -> Any:
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<pad>", *marks],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    inner.train_from_iterator([_TEXT], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        eos_token=marks[0],
        bos_token="<bos>" if "<bos>" in marks else None,
        chat_template=template,
    )
