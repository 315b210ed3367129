"""Losses measured once: of a row, under the base or an expert, of its prompt or its answer.

The router, the gate and the answer ask for the same losses again and again. A
state is named by its content, so what was measured stays true. Two memories: what
people ask is remembered while the engine lives; what the node judges with (its
held-out corrections and the shipped texts) also in a file of the home, so that a
second judgement costs model time only for what is new.
"""

import hashlib
import threading
from array import array
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from hivelearn.inference.chat import ANSWER, Example

if TYPE_CHECKING:
    from hivelearn.inference.engine import Engine
    from hivelearn.patch.adapter import Adapter

KEPT: Final = 1 << 15  # in memory, a few megabytes; the oldest go first
DIGEST_BYTES: Final = 28
BASE: Final = "base"  # the state without an adapter
_Key = tuple[str, str, Example]  # state, part, row


class LossStore(Protocol):
    """Where losses outlive the process."""

    def read(self) -> dict[bytes, float]:
        """Return what is there, by digest."""

    def add(self, losses: Mapping[bytes, float]) -> None:
        """Keep these too."""

    def clear(self) -> None:
        """Forget all."""


def without_answer(example: Example) -> Example:
    """Return the part of ``example`` before its answer: all that a router may look at."""
    end = example.marks.find(ANSWER)
    return example if end < 0 else Example(example.tokens[:end], example.marks[:end])


class LossCache:
    """A bounded memory of losses (mean nats per token of a part).

    Args:
        store: what outlives the process, or None.
        precision: what else a loss depends on: how the engine computes.
        kept: losses in memory.
    """

    def __init__(
        self, store: LossStore | None = None, precision: str = "", kept: int = KEPT
    ) -> None:
        self._store, self._precision, self._kept = store, precision, kept
        self._known: OrderedDict[_Key, float] = OrderedDict()
        self._stored: dict[bytes, float] | None = None  # read on first need
        self._lock = threading.Lock()

    def of(
        self,
        engine: "Engine",
        rows: Sequence[Example],
        state: str,
        adapter: "Adapter | None",
        part: str,
        *,
        lasting: bool = False,
    ) -> list[float]:
        """Return the loss of each row's ``part`` under ``adapter``.

        Args:
            engine: measures what is not known.
            rows: prompts or pairs; for the part "prompt" their answers are not looked at.
            state: names what the adapter does, its scale included; BASE without one.
            adapter: whose loss.
            part: "prompt" or "answer".
            lasting: whether the store may keep it: never what somebody asked.
        """
        seen = [without_answer(row) for row in rows] if part == "prompt" else list(rows)
        wanted = list(dict.fromkeys(seen))
        with self._lock:
            found = {
                row: self._known[state, part, row]
                for row in wanted
                if (state, part, row) in self._known
            }
            digests: dict[Example, bytes] = {}
            if lasting and self._store is not None:
                digests = {
                    row: self._digest(engine, state, part, row)
                    for row in wanted
                    if row not in found
                }
                if self._stored is None:
                    self._stored = self._store.read()
                kept = self._stored
                found |= {row: kept[name] for row, name in digests.items() if name in kept}
        missing = [row for row in wanted if row not in found]
        if missing:
            fresh = dict(zip(missing, engine.losses(missing, adapter, part), strict=True))
            found |= fresh
            self._remember(state, part, found, {digests[r]: fresh[r] for r in fresh if digests})
        return [found[row] for row in seen]

    def clear(self) -> None:
        """Forget all, on disk too: what is forgotten must not be told by its digest."""
        with self._lock:
            self._known.clear()
            self._stored = None
            if self._store is not None:
                self._store.clear()

    def _remember(
        self, state: str, part: str, found: Mapping[Example, float], lasting: Mapping[bytes, float]
    ) -> None:
        with self._lock:
            self._known.update({(state, part, row): loss for row, loss in found.items()})
            while len(self._known) > self._kept:
                self._known.popitem(last=False)
            if lasting and self._store is not None and self._stored is not None:
                self._stored |= lasting
                self._store.add(lasting)

    def _digest(self, engine: "Engine", state: str, part: str, row: Example) -> bytes:
        named = f"{engine.name}\n{self._precision}\n{state}\n{part}".encode()
        said = engine.base + named + b"\n" + array("q", row.tokens).tobytes() + row.marks
        return hashlib.blake2b(said, digest_size=DIGEST_BYTES).digest()
