"""Examples to tensors: which of them go through the model together, and how they are padded.

Answers are generated from batches padded on the left, because generation goes on
at the right end; losses are measured on batches padded on the right.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hivelearn.inference.chat import Example


class Padded(NamedTuple):
    """Examples as one batch, each tensor (examples, longest)."""

    ids: Tensor
    mask: Tensor  # 1 where a token stands, 0 where there is padding
    marks: Tensor  # of each token; TEMPLATE where there is padding


def padded(examples: Sequence[Example], pad_id: int, *, left: bool = False) -> Padded:
    """Return the examples as one batch, filled up with ``pad_id`` on one side."""
    width = max(len(example.tokens) for example in examples)
    ids = torch.full((len(examples), width), pad_id)
    mask = torch.zeros_like(ids)
    marks = torch.zeros((len(examples), width), dtype=torch.uint8)
    for at, example in enumerate(examples):
        start = width - len(example.tokens) if left else 0
        place = slice(start, start + len(example.tokens))
        ids[at, place] = torch.tensor(example.tokens)
        mask[at, place] = 1
        marks[at, place] = torch.frombuffer(bytearray(example.marks), dtype=torch.uint8)
    return Padded(ids, mask, marks)


def by_length(examples: Sequence[Example], tokens_max: int) -> Iterator[list[int]]:
    """Yield indices of examples of like length, longest first, within a padded budget."""
    order = sorted(range(len(examples)), key=lambda i: (-len(examples[i].tokens), i))
    at = 0
    while at < len(order):
        width = max(1, len(examples[order[at]].tokens))
        many = max(1, tokens_max // width)
        yield order[at : at + many]
        at += many


def with_room(
    examples: Sequence[Example], tokens_max: int, new_tokens: int, context: int | None
) -> Iterator[list[int]]:
    """Yield batches in which nobody's answer is cut short by a neighbour's long question.

    Args:
        examples: prompts.
        tokens_max: padded tokens of one batch.
        new_tokens: how many an answer may have.
        context: how many tokens the model takes, if it says.
    """
    fits = [context is None or len(each.tokens) + new_tokens <= context for each in examples]
    together = [i for i, whole in enumerate(fits) if whole]
    for batch in by_length([examples[i] for i in together], tokens_max):
        yield [together[i] for i in batch]
    yield from ([i] for i, whole in enumerate(fits) if not whole)
