"""Chance that any machine draws alike: a mask is a function of a key and a place.

The generator is Philox 4x64, which is a function of a counter and holds nothing
else. The counter of a row follows from the row's number alone, so a mask is the
same in any chunks and any order, and a row can be drawn without the rows before it.

Half of a 32-byte key is Philox's own key, half the upper words of its counter, so
that two keys never meet in one stream.

Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hivelearn.merging.errors import MergeError

STREAM_KEY_BYTES: Final = 32
_PER_COUNTER: Final = 8  # a counter gives four words of 64 bits: eight numbers of 32
_CERTAIN: Final = 1 << 32


def bernoulli(key: bytes, place: slice, width: int, probability: float | Tensor) -> Tensor:
    """Return True with ``probability`` for every entry of some rows.

    Args:
        key: 32 bytes.
        place: which rows, of how many does not matter.
        width: entries in a row.
        probability: one for all, or (rows, width) of any float type; in [0, 1]. It
            is rounded to a multiple of 2⁻³².

    Returns:
        (rows, width) bool.

    Raises:
        MergeError: the key is not 32 bytes.
    """
    drawn = numbers(key, place, width)
    if isinstance(probability, Tensor):
        limits = np.rint(probability.double().numpy() * _CERTAIN).astype(np.uint64)
        return torch.from_numpy(drawn < limits)
    limit = round(probability * _CERTAIN)
    if limit >= _CERTAIN:  # would not fit the 32 bits that it is compared with
        return torch.ones(drawn.shape, dtype=torch.bool)
    return torch.from_numpy(drawn < np.uint32(limit))


def numbers(key: bytes, place: slice, width: int) -> npt.NDArray[np.uint32]:
    """Return (rows, width) numbers of 32 bits, each row from a counter of its own."""
    if len(key) != STREAM_KEY_BYTES:
        raise MergeError(
            f"a key of chance has {STREAM_KEY_BYTES} bytes, this one {len(key)}",
            remedy="Pass one key of 32 bytes for each delta.",
        )
    rows = place.stop - place.start
    counters = -(-width // _PER_COUNTER)  # in a row, rounded up
    words = np.frombuffer(key, dtype="<u8")
    stream = np.random.Philox(
        key=words[:2], counter=np.array([place.start * counters, 0, *words[2:]], dtype=np.uint64)
    )
    drawn = stream.random_raw(rows * counters * _PER_COUNTER // 2)
    # The low half of a word comes first, on machines of either byte order.
    halves: npt.NDArray[np.uint32] = drawn.astype("<u8", copy=False).view("<u4")
    return halves.reshape(rows, -1)[:, :width]
