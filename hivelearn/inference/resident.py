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

from hivelearn.inference import lora
from hivelearn.inference.engine import Gradients, Sampling
from hivelearn.inference.loading import Loaded
from hivelearn.inference.rows import ANSWER, CONTENT, PARTS, Row, Rower
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
        self.rower = Rower(self._tokenizer, self._end_ids, context)
        self._context: int | None = context
        self._shapes = lora.linear_shapes(self._model)
        self._lock = threading.RLock()
        by_vocabulary = LOGITS_MAX // config.vocab_size
        self._batch_tokens = min(max(by_vocabulary, BATCH_TOKENS[0]), BATCH_TOKENS[1])

    def __repr__(self) -> str:
        """Tell the model, its size and where it lives."""
        count = sum(p.numel() for p in self._model.parameters())
        return f"ResidentEngine({type(self._model).__name__}, {count:,} parameters, {self._device})"

    @property
    def model(self) -> Any:  # noqa: ANN401 - any transformers causal LM
        """The base model itself, without any adapter."""
        return self._model

    def shapes(self) -> Mapping[str, tuple[int, int]]:
        """See :class:`Engine`."""
        return self._shapes

    def check(self, adapter: Adapter) -> None:
        """See :class:`Engine`."""
        lora.check(self._shapes, adapter)

    def _applied(self, adapter: Adapter | None) -> AbstractContextManager[None]:
        if adapter is None:
            return nullcontext()
        self.check(adapter)
        factors = {n: (a.to(self._device), b.to(self._device)) for n, (a, b) in _items(adapter)}
        return lora.applied(self._model, factors, adapter.scale)

    def generate(
        self,
        rows: Sequence[Row],
        adapter: Adapter | None,
        sampling: Sampling,
        on_text: Callable[[str], None] | None = None,
    ) -> list[str]:
        """See :class:`Engine`. Rows are padded on the left and answered longest first."""
        answers: dict[int, str] = {}
        with self._lock, self._applied(adapter), torch.inference_mode():
            # fork_rng: sampling must not move the random state of the caller's own program.
            with torch.random.fork_rng(enabled=sampling.temperature > 0):
                if sampling.temperature > 0:
                    torch.manual_seed(sampling.seed)
                for batch in _batches(rows, self._batch_tokens):
                    for index, text in zip(
                        batch, self._complete([rows[i] for i in batch], sampling, on_text)
                    ):
                        answers[index] = text
        return [answers[index] for index in range(len(rows))]

    def _complete(
        self, rows: Sequence[Row], sampling: Sampling, on_text: Callable[[str], None] | None
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
            streamer=_streamer(self._tokenizer, on_text) if len(rows) == 1 else None,
            **choice,
        )
        return [self.rower.text(line[width:].tolist()) for line in out]

    def losses(self, rows: Sequence[Row], adapter: Adapter | None, part: str) -> list[float]:
        """See :class:`Engine`."""
        found = [math.nan] * len(rows)
        with self._lock, self._applied(adapter), torch.inference_mode():
            for batch in _batches(rows, self._batch_tokens):
                chosen = [rows[i] for i in batch]
                nll, marks = self._nll(chosen)
                wanted = marks == PARTS[part]
                total = (nll * wanted).sum(dim=1, dtype=torch.float64)
                mean = total / wanted.sum(dim=1)  # 0 / 0 is the NaN that is promised
                for index, value in zip(batch, mean.tolist()):
                    found[index] = value
        return found

    def gradients(
        self, microbatches: Sequence[Sequence[Row]], adapter: Adapter, prompt_weight: float
    ) -> Gradients:
        """See :class:`Engine`."""
        leaves = {
            name: (
                a.to(self._device, torch.float32, copy=True).requires_grad_(),
                b.to(self._device, torch.float32, copy=True).requires_grad_(),
            )
            for name, (a, b) in _items(adapter)
        }
        rows = [row for batch in microbatches for row in batch]
        weighted = sum(row.count("answer") + prompt_weight * row.count("prompt") for row in rows)
        loss = 0.0
        with self._lock, torch.enable_grad(), lora.applied(self._model, leaves, adapter.scale):
            for batch in microbatches:
                nll, marks = self._nll(batch)
                weights = (marks == ANSWER) + prompt_weight * (marks == CONTENT)
                part = (nll * weights).sum() / weighted
                part.backward()  # type: ignore[no-untyped-call]
                loss += float(part.detach())
        tokens = sum(len(row.tokens) - row.marks.count(0) for row in rows)
        grads = {name: (_grad(a), _grad(b)) for name, (a, b) in leaves.items()}
        return Gradients(loss, tokens, grads)

    def _nll(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
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


def _batches(rows: Sequence[Row], tokens_max: int) -> Iterator[list[int]]:
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


def _streamer(tokenizer: Any, on_text: Callable[[str], None] | None) -> Any:  # noqa: ANN401
    if on_text is None:
        return None
    from transformers.generation.streamers import TextStreamer

    streamer = TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    # transformers' own seam: subclasses and this override what is done with finished text.
    streamer.on_finalized_text = lambda text, stream_end=False: on_text(text) if text else None
    return streamer
