"""When a generation ends before the model ends it: the caller left, or a stop has come.

transformers asks after every token. Its own stop strings need the whole vocabulary
prepared, and say nothing of which row ended where; here the last tokens of each row
are read as text, as the answer itself will be.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from transformers import StoppingCriteria

from hivelearn.inference.stop_strings import cut

_TOKENS_PER_CHAR: Final = 4  # at most: a token holds a byte of a character at least
_MORE_TOKENS: Final = 16  # special ones say nothing, and the first may be half a character


class CallersStop(StoppingCriteria):  # type: ignore[misc] # transformers is untyped
    """Ends rows at the caller's stops, and all rows when the caller has left.

    Args:
        text: tokens to text, as the answer is read.
        stops: texts that end an answer.
        cancelled: whether the caller has left.
        prompt_tokens: width of the prompt, padding included.
    """

    def __init__(
        self,
        text: Callable[[Sequence[int]], str],
        stops: Sequence[str],
        cancelled: Callable[[], bool],
        prompt_tokens: int,
    ) -> None:
        self._text, self._stops, self._cancelled = text, stops, cancelled
        self._start = prompt_tokens
        longest = max((len(stop) for stop in stops), default=0)
        self._window = _TOKENS_PER_CHAR * longest + _MORE_TOKENS
        self.ended: dict[int, int] = {}  # row to its width when a stop came
        self.cancelled = False

    def __call__(self, input_ids: Tensor, _scores: Any, **_: Any) -> Tensor:
        """Return which rows are done."""
        rows, width = input_ids.shape
        if self._cancelled():
            self.cancelled = True
            return torch.ones(rows, dtype=torch.bool, device=input_ids.device)
        if self._stops:
            tail = input_ids[:, max(self._start, width - self._window) :].tolist()
            for row in range(rows):
                if row not in self.ended and cut(self._text(tail[row]), self._stops)[1]:
                    self.ended[row] = width
        done = [row in self.ended for row in range(rows)]
        return torch.tensor(done, dtype=torch.bool, device=input_ids.device)
