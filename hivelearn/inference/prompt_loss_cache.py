"""How surprised each expert was by a prompt, measured once and remembered.

The router, the gate and the answer all ask for the same prompt losses: of the
same questions, under the same experts. An expert's id names its content, so
what was measured stays true as long as the engine lives.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from hivelearn.inference.chat import ANSWER, Example

if TYPE_CHECKING:
    from hivelearn.inference.engine import Engine
    from hivelearn.patch.adapter import Adapter

KEPT: Final = 1 << 15  # a few megabytes; the oldest go first


def without_answer(example: Example) -> Example:
    """Return the part of ``example`` before its answer: all that a router may look at."""
    end = example.marks.find(ANSWER)
    return example if end < 0 else Example(example.tokens[:end], example.marks[:end])


class PromptLossCache:
    """A bounded memory of prompt losses (mean nats per token of the user's words)."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._known: OrderedDict[tuple[str, Example], float] = OrderedDict()
        self._lock = threading.Lock()

    def of(
        self, engine: "Engine", examples: Sequence[Example], expert: str, adapter: "Adapter"
    ) -> list[float]:
        """Return the prompt loss of each example under ``adapter``; ``expert`` is its id."""
        prompts = [without_answer(example) for example in examples]
        keys = [(expert, prompt) for prompt in prompts]
        with self._lock:
            found = {key: self._known[key] for key in keys if key in self._known}
        missing = {
            key: example for key, example in zip(keys, prompts, strict=True) if key not in found
        }
        if missing:
            losses = engine.losses(list(missing.values()), adapter, "prompt")
            fresh = dict(zip(missing, losses, strict=True))
            found |= fresh
            with self._lock:
                self._known.update(fresh)
                while len(self._known) > self._kept:
                    self._known.popitem(last=False)
        return [found[key] for key in keys]
