"""What training, gate and router may ask of a model, wherever its weights live.

One protocol, so that a model resident in memory, one streamed from disk layer
by layer and one spread over several machines serve them alike. Everything is
batched: an engine that reads each weight from disk must be able to use it for
every example before letting it go. An adapter is an argument, never a state.

Not every engine can do everything (a remote one may give no gradients), so each
says what it can, and whoever needs more asks with :func:`require` first. Engines
are opened by name in :mod:`hivelearn.inference.engine_table`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from hivelearn.errors import UsageError
from hivelearn.inference.chat import ChatEncoder, Example
from hivelearn.inference.completion import Completion, Listener
from hivelearn.inference.sampling import Sampling

if TYPE_CHECKING:
    from torch import Tensor

    from hivelearn.patch.adapter import Adapter


Capability: TypeAlias = Literal[
    "generate",  # answers
    "stream_text",  # tells the pieces of an answer as they come
    "losses",  # of answers and prompts: what judging and routing need
    "gradients",  # of the adapter's factors: what training needs
    "clipped_gradients",  # an example at a time: what differential privacy needs
]


class MissingCapabilityError(UsageError):
    """This engine cannot do what is asked of it."""

    remedy = "Open the model with another engine: hl.Node(model, engine=...)."


class AdapterMismatchError(UsageError):
    """An adapter names modules or shapes that this model does not have."""

    remedy = "It was made for another model: open that one, or refuse the adapter."


@dataclass(frozen=True, slots=True)
class Gradients:
    """Gradients of Σ w·nll / Σ w over all examples of a step, with respect to the factors.

    ``factors`` maps a module to (dA (r, d_in), dB (d_out, r)), float32 on the CPU.
    """

    loss: float  # weighted mean, nats per token
    tokens: int  # that carried weight
    factors: Mapping[str, "tuple[Tensor, Tensor]"] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClippedGradients:
    """The sum of the gradients of single examples, each cut to an L2 norm of ``clip_norm``.

    It is a sum, so that noise can be added before it is divided by the expected
    batch. Without an example, or without one that carries weight, it is zero.
    ``factors`` is as in :class:`Gradients`.
    """

    loss: float  # mean over the examples that carry weight, nats per token; NaN without any
    count: int  # examples given
    clipped_share: float  # of them, how many were longer than ``clip_norm``
    factors: Mapping[str, "tuple[Tensor, Tensor]"] = field(repr=False)


class Engine(Protocol):
    """A causal language model that takes its adapter as an argument."""

    @property
    def name(self) -> str:
        """The name it is opened by, for messages."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this engine can do; the other methods raise MissingCapabilityError."""

    @property
    def base(self) -> bytes:
        """The 32-byte fingerprint of the model."""

    @property
    def encoder(self) -> ChatEncoder:
        """Conversations to tokens, for this model."""

    @property
    def width(self) -> int:
        """The hidden size."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What of the model's folder is not taken as it stands there, for people."""

    def shapes(self) -> Mapping[str, tuple[int, int]]:
        """Return (d_out, d_in) of each linear module that a LoRA may target, sorted by name."""

    @property
    def left_out(self) -> tuple[str, ...]:
        """Kinds of matrices of the model that are no such module, such as fused experts."""

    def norms(self) -> Mapping[str, float]:
        """Return the Frobenius norm of the weight of each module in :meth:`shapes`."""

    def check(self, adapter: "Adapter") -> None:
        """Raise AdapterMismatchError unless ``adapter`` fits this model."""

    def generate(
        self,
        examples: Sequence[Example],
        adapter: "Adapter | None",
        sampling: Sampling,
        listener: Listener | None = None,
    ) -> list[Completion]:
        """Return one answer an example; ``listener`` follows it and may end it."""

    def losses(
        self, examples: Sequence[Example], adapter: "Adapter | None", part: str
    ) -> list[float]:
        """Return mean nats per token of ``part`` ("answer" or "prompt"), one an example.

        An example without a token of that part gives NaN.
        """

    def gradients(
        self, microbatches: Sequence[Sequence[Example]], adapter: "Adapter", prompt_weight: float
    ) -> Gradients:
        """Return the gradients of one step; answers weigh 1, the user's words ``prompt_weight``."""

    def clipped_gradients(
        self,
        microbatches: Sequence[Sequence[Example]],
        adapter: "Adapter",
        prompt_weight: float,
        clip_norm: float,
    ) -> ClippedGradients:
        """Return the sum over examples of each one's own gradient, cut to ``clip_norm``.

        The loss of an example is its own weighted mean (nats per token). Its norm is
        taken over all factors together. No example moves the sum by more than
        ``clip_norm``, whatever it is and whoever its neighbours are: one whose gradient
        is not finite counts as clipped and adds nothing.

        Source: Abadi et al. 2016, arXiv:1607.00133, Algorithm 1 (without the noise).
        """


def require(engine: Engine, capability: Capability, purpose: str) -> None:
    """Raise MissingCapabilityError unless ``engine`` can do what ``purpose`` needs."""
    if capability not in engine.capabilities:
        able = ", ".join(sorted(engine.capabilities)) or "nothing"
        raise MissingCapabilityError(
            f"{purpose} needs {capability.replace('_', ' ')}, "
            f"which the engine {engine.name!r} does not give (it gives: {able})"
        )
