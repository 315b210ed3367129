"""The engine of a model that fits into memory: one transformers model, one lock.

The lock covers one call. Hooks and torch's random state are global inside a
process; so is the promise that an ``ask`` between two training steps leaves the
trained adapter bit-equal.
"""

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

from hivelearn.errors import UsageError
from hivelearn.inference import lora
from hivelearn.inference.chat import ANSWER, CONTENT, PARTS, ChatEncoder, Example
from hivelearn.inference.engine import Gradients, Sampling
from hivelearn.inference.loading import Loaded
from hivelearn.inference.text_streamer import TextStreamer
from hivelearn.patch.adapter import Adapter

LOGITS_MAX: Final = 1 << 24  # floats of logits held at once: 64 MiB
BATCH_TOKENS: Final = (64, 8_192)  # fewest and most padded tokens in one forward pass


class ResidentEngine:
    """An :class:`~hivelearn.inference.engine.Engine` over a model in memory.

    Args:
        loaded: model, tokenizer, folder.
        base: the model's 32-byte fingerprint.
    """

    def __init__(self, loaded: Loaded, base: bytes) -> None:
        self._model = loaded.model
        self._tokenizer = loaded.tokenizer
        self._device = next(loaded.model.parameters()).device
        self.base = base
        config = loaded.model.config.get_text_config()
        self.width: int = config.hidden_size
        context = getattr(config, "max_position_embeddings", None)
        self._end_ids = _end_ids(loaded)
        self._pad_id = self._tokenizer.pad_token_id
        if self._pad_id is None:
            self._pad_id = self._end_ids[0]
        self.encoder = ChatEncoder(self._tokenizer, self._end_ids, context)
        self._context: int | None = context
        self._shapes = lora.linear_shapes(self._model)
        self._norms: Mapping[str, float] | None = None
        self._lock = threading.RLock()
        by_vocabulary = LOGITS_MAX // config.vocab_size
        self._batch_tokens = min(max(by_vocabulary, BATCH_TOKENS[0]), BATCH_TOKENS[1])

    def __repr__(self) -> str:
        """Tell the model, its size and where it lives."""
        count = sum(p.numel() for p in self._model.parameters())
        return f"ResidentEngine({type(self._model).__name__}, {count:,} parameters, {self._device})"

    @property
    def model(self) -> Any:
        """The base model itself, without any adapter."""
        return self._model

    def shapes(self) -> Mapping[str, tuple[int, int]]:
        """See :class:`Engine`."""
        return self._shapes

    def norms(self) -> Mapping[str, float]:
        """See :class:`Engine`. Summed once."""
        if self._norms is None:
            self._norms = lora.weight_norms(self._model, self._shapes)
        return self._norms

    def check(self, adapter: Adapter) -> None:
        """See :class:`Engine`."""
        lora.check(self._shapes, adapter)

    def _applied(self, adapter: Adapter | None) -> AbstractContextManager[None]:
        if adapter is None:
            return nullcontext()
        self.check(adapter)
        place = (self._device, torch.float32)  # PEFT computes adapters of 16 bits in 32
        factors = {name: (a.to(*place), b.to(*place)) for name, (a, b) in _items(adapter)}
        return lora.applied(self._model, factors, adapter.scale)

    def generate(
        self,
        rows: Sequence[Example],
        adapter: Adapter | None,
        sampling: Sampling,
        on_text: Callable[[str], None] | None = None,
    ) -> list[str]:
        """See :class:`Engine`. Rows are padded on the left and answered longest first."""
        sampled = sampling.temperature > 0
        answers: dict[int, str] = {}
        # fork_rng: sampling must not move the random state of the caller's own program.
        with (
            self._lock,
            self._applied(adapter),
            torch.inference_mode(),
            torch.random.fork_rng(enabled=sampled),
        ):
            if sampled:
                torch.manual_seed(sampling.seed)
            for batch in self._rooms(rows, sampling.max_new_tokens):
                texts = self._complete([rows[i] for i in batch], sampling, on_text)
                answers |= zip(batch, texts, strict=True)
        return [answers[index] for index in range(len(rows))]

    def _rooms(self, rows: Sequence[Example], new_tokens: int) -> Iterator[list[int]]:
        """Yield batches in which nobody's answer is cut short by a neighbour's long question."""
        limit = self._context
        roomy = [limit is None or len(row.tokens) + new_tokens <= limit for row in rows]
        together = [i for i, fits in enumerate(roomy) if fits]
        for batch in _batches([rows[i] for i in together], self._batch_tokens):
            yield [together[i] for i in batch]
        yield from ([i] for i, fits in enumerate(roomy) if not fits)

    def _complete(
        self, rows: Sequence[Example], sampling: Sampling, on_text: Callable[[str], None] | None
    ) -> list[str]:
        width = max(len(row.tokens) for row in rows)
        ids = torch.full((len(rows), width), self._pad_id)
        mask = torch.zeros_like(ids)
        for at, row in enumerate(rows):
            ids[at, width - len(row.tokens) :] = torch.tensor(row.tokens)
            mask[at, width - len(row.tokens) :] = 1
        room = sampling.max_new_tokens
        if self._context is not None:
            room = max(1, min(room, self._context - width))
        choice: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None}
        if sampling.temperature > 0:
            choice = {
                "do_sample": True,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
            }
        out = self._model.generate(
            input_ids=ids.to(self._device),
            attention_mask=mask.to(self._device),
            max_new_tokens=room,
            pad_token_id=self._pad_id,
            eos_token_id=list(self._end_ids),
            top_k=None,
            streamer=TextStreamer(self.encoder.text, on_text)
            if on_text and len(rows) == 1
            else None,
            **choice,
        )
        return [self.encoder.text(line[width:].tolist()) for line in out]

    def losses(self, rows: Sequence[Example], adapter: Adapter | None, part: str) -> list[float]:
        """See :class:`Engine`."""
        found = [math.nan] * len(rows)
        with self._lock, self._applied(adapter), torch.inference_mode():
            for batch in _batches(rows, self._batch_tokens):
                chosen = [rows[i] for i in batch]
                nll, marks = self._nll(chosen)
                wanted = marks == PARTS[part]
                total = (nll * wanted).sum(dim=1, dtype=torch.float64)
                mean = total / wanted.sum(dim=1)  # 0 / 0 is the NaN that is promised
                for index, value in zip(batch, mean.tolist(), strict=True):
                    found[index] = value
        return found

    def gradients(
        self, microbatches: Sequence[Sequence[Example]], adapter: Adapter, prompt_weight: float
    ) -> Gradients:
        """See :class:`Engine`."""
        self.check(adapter)
        leaves = {
            name: (
                a.to(self._device, torch.float32, copy=True).requires_grad_(),
                b.to(self._device, torch.float32, copy=True).requires_grad_(),
            )
            for name, (a, b) in _items(adapter)
        }
        rows = [row for batch in microbatches for row in batch]
        weights = {ANSWER: 1.0, CONTENT: prompt_weight}
        carried = [weights.get(mark, 0.0) for row in rows for mark in row.marks[1:]]
        weighted = math.fsum(carried)
        if not weighted > 0:
            raise UsageError(
                "nothing to learn: no token of these rows carries weight",
                remedy="Give rows with answers, as ChatEncoder.pair makes them.",
            )
        loss = 0.0
        with self._lock, torch.enable_grad(), lora.applied(self._model, leaves, adapter.scale):
            for batch in microbatches:
                nll, marks = self._nll(batch)
                weight = (marks == ANSWER) + prompt_weight * (marks == CONTENT)
                part = (nll * weight).sum() / weighted
                part.backward()  # type: ignore[no-untyped-call]
                loss += float(part.detach())
        tokens = sum(weight > 0 for weight in carried)
        grads = {name: (_grad(a), _grad(b)) for name, (a, b) in leaves.items()}
        return Gradients(loss, tokens, grads)

    def _nll(self, rows: Sequence[Example]) -> tuple[Tensor, Tensor]:
        """Return (nll, marks), each (n, longest - 1): nats of every next token and what it is."""
        width = max(len(row.tokens) for row in rows)
        ids = torch.full((len(rows), width), self._pad_id)
        marks = torch.zeros((len(rows), width), dtype=torch.uint8)
        mask = torch.zeros_like(ids)
        for at, row in enumerate(rows):
            ids[at, : len(row.tokens)] = torch.tensor(row.tokens)
            marks[at, : len(row.tokens)] = torch.frombuffer(bytearray(row.marks), dtype=torch.uint8)
            mask[at, : len(row.tokens)] = 1
        ids, mask, marks = (t.to(self._device) for t in (ids, mask, marks))
        logits = self._model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        nll = F.cross_entropy(
            logits[:, :-1].transpose(1, 2).float(), ids[:, 1:], reduction="none"
        )  # (n, longest - 1)
        return nll, marks[:, 1:]


def _items(adapter: Adapter) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    yield from adapter.factors.items()


def _grad(leaf: Tensor) -> Tensor:
    # A module that no token reached (an idle expert of a mixture) has no gradient: zero.
    return torch.zeros_like(leaf).cpu() if leaf.grad is None else leaf.grad.cpu()


def _batches(rows: Sequence[Example], tokens_max: int) -> Iterator[list[int]]:
    """Yield indices of rows of like length, longest first, within a padded budget."""
    order = sorted(range(len(rows)), key=lambda i: (-len(rows[i].tokens), i))
    at = 0
    while at < len(order):
        width = max(1, len(rows[order[at]].tokens))
        many = max(1, tokens_max // width)
        yield order[at : at + many]
        at += many


def _end_ids(loaded: Loaded) -> tuple[int, ...]:
    found = getattr(loaded.model.generation_config, "eos_token_id", None)
    if found is None:
        found = loaded.tokenizer.eos_token_id
    if found is None:
        found = loaded.tokenizer.pad_token_id or 0
    return tuple(found) if isinstance(found, list) else (int(found),)
