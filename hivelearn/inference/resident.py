"""The engine of a model that fits into memory: one transformers model, one lock.

The lock covers one call. Hooks and torch's random state are global inside a
process; so is the promise that an ``ask`` between two training steps leaves the
trained adapter bit-equal.
"""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Final, get_args

import torch
from transformers import StoppingCriteriaList

from hivelearn.inference import lora
from hivelearn.inference.batches import by_length, padded, with_room
from hivelearn.inference.chat import PARTS, ChatEncoder, Example
from hivelearn.inference.completion import Completion, FinishReason, Listener
from hivelearn.inference.engine import Capability, ClippedGradients, Gradients
from hivelearn.inference.gradients import Leaves, batch_gradients, clipped_sum
from hivelearn.inference.loading import LoadedModel, load_model
from hivelearn.inference.resident_options import ResidentOptions
from hivelearn.inference.sampling import Sampling
from hivelearn.inference.stop_strings import cut
from hivelearn.inference.stopping import CallersStop
from hivelearn.inference.text_streamer import TextStreamer
from hivelearn.inference.token_loss import TokenLoss
from hivelearn.inference.token_spans import is_fast
from hivelearn.patch.adapter import Adapter

LOGITS_MAX: Final = 1 << 24  # floats of logits held at once: 64 MiB
BATCH_TOKENS: Final = (64, 8_192)  # fewest and most padded tokens in one forward pass
LOSS_TOKENS: Final = 1_024  # of one pass that keeps few logits: more are no faster on a CPU


def open_resident(
    folder: Path, fingerprint: Callable[[], bytes], options: ResidentOptions
) -> "ResidentEngine":
    """Open the model in ``folder`` whole; see :mod:`hivelearn.inference.engine_table`."""
    loaded = load_model(
        folder, options.device, options.dtype, trust_remote_code=options.trust_remote_code
    )
    return ResidentEngine(loaded, fingerprint())


class ResidentEngine:
    """An :class:`~hivelearn.inference.engine.Engine` over a model in memory.

    Args:
        loaded: the open model and its tokenizer.
        base: the model's 32-byte fingerprint.
        batch_tokens: most padded tokens in one forward pass; by the vocabulary if None.
    """

    name = "resident"
    capabilities: frozenset[Capability] = frozenset(get_args(Capability))

    def __init__(self, loaded: LoadedModel, base: bytes, batch_tokens: int | None = None) -> None:
        self._model = loaded.model
        self._device = next(loaded.model.parameters()).device
        self.base = base
        config = loaded.model.config.get_text_config()
        self.width: int = config.hidden_size
        context = getattr(config, "max_position_embeddings", None)
        self._pad_id = loaded.special.pad
        rows = loaded.model.get_input_embeddings().weight.shape[0]
        self.encoder = ChatEncoder(loaded.tokenizer, loaded.special.ends, context, rows)
        self.remarks = (*loaded.special.remarks, *_remarks(self.encoder))
        self._context: int | None = context
        self._shapes = lora.linear_shapes(self._model)
        self._norms: Mapping[str, float] | None = None
        self._lock = threading.RLock()
        self._nll = TokenLoss(self._model, self._pad_id)
        by_vocabulary = LOGITS_MAX // config.vocab_size
        self._batch_tokens = batch_tokens or min(
            max(by_vocabulary, BATCH_TOKENS[0]), BATCH_TOKENS[1]
        )

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

    @property
    def left_out(self) -> tuple[str, ...]:
        """See :class:`Engine`."""
        return lora.left_out(self._model)

    def norms(self) -> Mapping[str, float]:
        """See :class:`Engine`. Summed once."""
        if self._norms is None:
            self._norms = lora.weight_norms(self._model, self._shapes)
        return self._norms

    def check(self, adapter: Adapter) -> None:
        """See :class:`Engine`."""
        lora.check_fits(self._shapes, adapter)

    def attach(self, adapter: Adapter | None) -> AbstractContextManager[None]:
        """Let ``adapter`` act on :attr:`model` inside the block; None leaves the base.

        Raises:
            AdapterMismatchError: it does not fit this model.
        """
        if adapter is None:
            return nullcontext()
        self.check(adapter)
        place = (self._device, torch.float32)  # PEFT computes adapters of 16 bits in 32
        factors = {name: (a.to(*place), b.to(*place)) for name, (a, b) in adapter.factors.items()}
        return lora.attach(self._model, factors, adapter.scale)

    def generate(
        self,
        examples: Sequence[Example],
        adapter: Adapter | None,
        sampling: Sampling,
        listener: Listener | None = None,
    ) -> list[Completion]:
        """See :class:`Engine`. Examples are padded on the left and answered longest first."""
        sampled = sampling.temperature > 0
        answers: dict[int, Completion] = {}
        batches = with_room(examples, self._batch_tokens, sampling.max_new_tokens, self._context)
        # fork_rng: sampling must not move the random state of the caller's own program.
        with (
            self._lock,
            self.attach(adapter),
            torch.inference_mode(),
            torch.random.fork_rng(enabled=sampled),
        ):
            if sampled:
                torch.manual_seed(sampling.seed)
            for batch in batches:
                said = self._complete([examples[i] for i in batch], sampling, listener)
                answers |= zip(batch, said, strict=True)
        return [answers[index] for index in range(len(examples))]

    def _complete(
        self, examples: Sequence[Example], sampling: Sampling, listener: Listener | None
    ) -> list[Completion]:
        listener = listener or Listener()
        if listener.cancelled():  # it may have waited long for the lock
            return [Completion("", "cancelled", len(each.tokens)) for each in examples]
        batch = padded(examples, self._pad_id, left=True)
        width = batch.ids.shape[1]
        room = sampling.max_new_tokens
        if self._context is not None:
            room = max(1, min(room, self._context - width))
        choice: dict[str, Any] = {"do_sample": False}
        if sampling.temperature > 0:
            choice = {
                "do_sample": True,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": sampling.top_k or None,
            }
        stop = CallersStop(self.encoder.text, sampling.stop, listener.cancelled, width)
        streamer = None
        if listener.on_text is not None and len(examples) == 1:
            streamer = TextStreamer(self.encoder.text, listener.on_text, sampling.stop)
        out = self._model.generate(
            input_ids=batch.ids.to(self._device),
            attention_mask=batch.mask.to(self._device),
            max_new_tokens=room,
            pad_token_id=self._pad_id,
            eos_token_id=list(self.encoder.end_ids) or None,
            stopping_criteria=StoppingCriteriaList([stop]),
            streamer=streamer,
            **choice,
        )
        return [
            self._completion(example, line[width : stop.ended.get(row)].tolist(), sampling, stop)
            for row, (example, line) in enumerate(zip(examples, out, strict=True))
        ]

    def _completion(
        self, example: Example, tokens: list[int], sampling: Sampling, stop: CallersStop
    ) -> Completion:
        """Return what generated ``tokens`` say, and why they end."""
        text, stopped = cut(self.encoder.text(tokens), sampling.stop)
        count = self.encoder.turn_length(tokens)
        reason: FinishReason = "length"
        if stopped:
            reason = "stop_string"
        elif count < len(tokens):
            reason = "stop"
        elif stop.cancelled:
            reason = "cancelled"
        return Completion(text, reason, len(example.tokens), count)

    def losses(
        self, examples: Sequence[Example], adapter: Adapter | None, part: str
    ) -> list[float]:
        """See :class:`Engine`."""
        found = [math.nan] * len(examples)
        with self._lock, self.attach(adapter), torch.inference_mode():
            tokens_max = LOSS_TOKENS if self._nll.apart else self._batch_tokens
            for batch in by_length(examples, tokens_max):
                nll, marks = self._nll([examples[i] for i in batch], (PARTS[part],))
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
        leaves = self._leaves(adapter)
        with self._lock, lora.attach(self._model, leaves, adapter.scale):
            return batch_gradients(self._nll, leaves, microbatches, prompt_weight)

    def clipped_gradients(
        self,
        microbatches: Sequence[Sequence[Example]],
        adapter: Adapter,
        prompt_weight: float,
        clip_norm: float,
    ) -> ClippedGradients:
        """See :class:`Engine`. Each example goes through the model alone."""
        leaves = self._leaves(adapter)
        examples = [example for batch in microbatches for example in batch]
        with self._lock, lora.attach(self._model, leaves, adapter.scale):
            return clipped_sum(self._nll, leaves, examples, prompt_weight, clip_norm)

    def _leaves(self, adapter: Adapter) -> Leaves:
        """Return copies of the factors, in float32 on the model's device, to differentiate by."""
        self.check(adapter)
        place = {"device": self._device, "dtype": torch.float32, "copy": True}
        return {
            name: (a.to(**place).requires_grad_(), b.to(**place).requires_grad_())
            for name, (a, b) in adapter.factors.items()
        }


def _remarks(encoder: ChatEncoder) -> list[str]:
    """Return what of the tokenizer a user should know."""
    remarks = []
    if not encoder.end_ids:
        remarks.append(
            "the model names no token that ends an answer: every answer runs to max_new_tokens"
        )
    if not is_fast(encoder.tokenizer):
        remarks.append("the tokenizer is written in Python: the user's words are found by counting")
    return remarks
