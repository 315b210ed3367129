"""What training, gate and router may ask of a model, wherever its weights live.

One protocol, so that a model resident in memory, one streamed from disk layer
by layer and one spread over several machines serve them alike. Everything is
batched: an engine that reads each weight from disk must be able to use it for
every row before letting it go. An adapter is an argument, never a state.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from hivelearn.bounds import Rule, check_record, real, whole
from hivelearn.errors import UsageError
from hivelearn.inference.chat import ChatEncoder, Example

if TYPE_CHECKING:
    from torch import Tensor

    from hivelearn.patch.adapter import Adapter


class AdapterMismatchError(UsageError):
    """An adapter names modules or shapes that this model does not have."""

    remedy = "It was made for another model: open that one, or refuse the adapter."


SAMPLING: Final[Mapping[str, Rule]] = {
    "max_new_tokens": whole(1, 1 << 20),
    # Logits are divided by it, in float32: far below they overflow, far above nothing is left.
    "temperature": Rule("0", real(0, 0).holds) | real(1e-3, 1e3),
    "top_p": real(0, 1, above=True),
    "seed": whole(0),
}


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to choose tokens. Temperature 0 is greedy and needs no seed."""

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what no sampler can do."""
        check_record(SAMPLING, self, what="sampling so is impossible")
        # transformers takes 2.0 and refuses 2.
        object.__setattr__(self, "temperature", float(self.temperature))


@dataclass(frozen=True, slots=True)
class Gradients:
    """Gradients of Σ w·nll / Σ w over all rows of a step, with respect to the factors.

    ``factors`` maps a module to (dA (r, d_in), dB (d_out, r)), float32 on the CPU.
    """

    loss: float  # weighted mean, nats per token
    tokens: int  # that carried weight
    factors: Mapping[str, "tuple[Tensor, Tensor]"] = field(repr=False)


class Engine(Protocol):
    """A causal language model that takes its adapter as an argument."""

    @property
    def base(self) -> bytes:
        """The 32-byte fingerprint of the model."""

    @property
    def encoder(self) -> ChatEncoder:
        """Conversations to tokens, for this model."""

    @property
    def width(self) -> int:
        """The hidden size."""

    def shapes(self) -> Mapping[str, tuple[int, int]]:
        """Return (d_out, d_in) of each linear module that a LoRA may target, sorted by name."""

    def norms(self) -> Mapping[str, float]:
        """Return the Frobenius norm of the weight of each module in :meth:`shapes`."""

    def check(self, adapter: "Adapter") -> None:
        """Raise AdapterMismatchError unless ``adapter`` fits this model."""

    def generate(
        self,
        rows: Sequence[Example],
        adapter: "Adapter | None",
        sampling: Sampling,
        on_text: Callable[[str], None] | None = None,
    ) -> list[str]:
        """Return one answer a row; ``on_text`` hears the pieces of a single row as they come."""

    def losses(self, rows: Sequence[Example], adapter: "Adapter | None", part: str) -> list[float]:
        """Return mean nats per token of ``part`` ("answer" or "prompt"), one a row.

        A row without a token of that part gives NaN.
        """

    def gradients(
        self, microbatches: Sequence[Sequence[Example]], adapter: "Adapter", prompt_weight: float
    ) -> Gradients:
        """Return the gradients of one step; answers weigh 1, the user's words ``prompt_weight``."""
