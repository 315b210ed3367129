"""The nano model's tokens: five marks and the 256 bytes, in one fixed order.

Mark tokens come first, byte b is token ``MARKS + b``. The tokenizer files are those of a
byte-level BPE without merges, so transformers loads them like any other model's.
"""

from __future__ import annotations

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

PAD, SYSTEM, USER, ASSISTANT, END = range(5)
MARK_TEXTS = ("<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
MARKS = len(MARK_TEXTS)
SIZE = MARKS + 256

# A role that is not one of the three fails here, not as silent nonsense.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] not in ['system', 'user', 'assistant'] -%}"
    "{{- raise_exception('the nano model knows no role ' ~ message['role']) -}}"
    "{%- endif -%}"
    "{{- '<|' ~ message['role'] ~ '|>' ~ message['content'] ~ '<|end|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


def to_tokens(text: str) -> list[int]:
    """Return the tokens of plain text: its UTF-8 bytes, shifted past the marks."""
    return [MARKS + byte for byte in text.encode()]


def _byte_signs() -> list[str]:
    """Return the printable sign that byte-level BPE writes for each byte (GPT-2's table)."""
    plain = {*range(33, 127), *range(161, 173), *range(174, 256)}
    spare = iter(range(256, 512))
    return [chr(byte if byte in plain else next(spare)) for byte in range(256)]


def tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer that ``AutoTokenizer`` finds in the model's folder."""
    vocab = {sign: i for i, sign in enumerate([*MARK_TEXTS, *_byte_signs()])}
    inner = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    marks = [AddedToken(text, special=True, normalized=False) for text in MARK_TEXTS]
    inner.add_special_tokens(marks)
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token=MARK_TEXTS[PAD], eos_token=MARK_TEXTS[END],
        additional_special_tokens=list(MARK_TEXTS[SYSTEM:END]), chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False, model_max_length=1024, padding_side="left",
    )  # fmt: skip
