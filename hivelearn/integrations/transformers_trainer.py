"""A ``transformers.Trainer`` run that obeys the governor and ends as a signed patch.

A callback and nothing else: the Trainer is not patched, its arguments stay the
caller's, and leaving the callback out leaves the run as it was.
"""

from collections.abc import Iterator
from contextlib import suppress
from inspect import signature
from itertools import count
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from hivelearn.device.governor import Governor
from hivelearn.errors import UsageError
from hivelearn.node.learn.seal import check_sealable
from hivelearn.patch.adapter import Adapter
from hivelearn.store.correction import check_domain

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

    from hivelearn.node.node import Node
    from hivelearn.node.share.network import Swarm
    from hivelearn.patch.envelope import Patch


class SwarmCallback(TrainerCallback):  # type: ignore[misc]
    """Paces every forward pass by heat and battery; seals the LoRA when training ends.

    ::

        learnt = hl.SwarmCallback(node, "roman")
        Trainer(model=get_peft_model(model, config), callbacks=[learnt], ...).train()
        learnt.patch  # signed, on the node's shelf; node.adopt(learnt.patch) serves it

    The model must be a PEFT LoRA on the node's own base, compiled or not; a model
    that does not fit, or whose LoRA is too large for a patch, is refused before the
    first step, not after the last.

    Attributes:
        adapter: the LoRA as training left it; kept even if sealing fails.
        patch: the sealed patch, None until training has ended.
    """

    def __init__(
        self,
        node: "Node",
        domain: str,
        *,
        publish_to: "Swarm | None" = None,
        governor: Governor | None = None,
    ) -> None:
        """Prepare.

        Args:
            node: whose key signs.
            domain: what the training is about.
            publish_to: announce the patch there; must have joined ``domain``.
            governor: says when the machine may work; by default heat and battery alone.

        Raises:
            UsageError: no domain name, or a swarm that has not joined it.
        """
        check_domain(domain)
        if publish_to is not None and domain not in publish_to.domains:
            raise UsageError(
                f"the swarm to publish to has not joined {domain!r}",
                remedy=f"Join it first: node.join({domain!r}, ...).",
            )
        self._node, self._domain, self._swarm = node, domain, publish_to
        self._governor = governor or Governor()
        self._turns: Iterator[int] = iter(())
        self.adapter: Adapter | None = None
        self.patch: Patch | None = None

    def on_init_end(
        self,
        args: "TrainingArguments",  # noqa: ARG002 - the Trainer calls so
        state: "TrainerState",  # noqa: ARG002
        control: "TrainerControl",  # noqa: ARG002
        **rest: Any,
    ) -> None:
        """Let a compiled model say what it takes.

        torch.compile hides that, and the Trainer, which drops every column that the model
        does not name, would drop them all.
        """
        model = rest.get("model")
        inside = getattr(model, "_orig_mod", None)
        if model is not None and inside is not None:
            plain = inside.get_base_model() if hasattr(inside, "get_base_model") else inside
            with suppress(AttributeError):  # a bound method of a later torch takes none
                model.forward.__signature__ = signature(plain.forward)

    def on_train_begin(
        self,
        args: "TrainingArguments",  # noqa: ARG002 - the Trainer calls so
        state: "TrainerState",  # noqa: ARG002
        control: "TrainerControl",  # noqa: ARG002
        **rest: Any,
    ) -> None:
        """Refuse a model that could not be sealed, while nothing is lost yet."""
        check_sealable(self._node.context, Adapter.from_model(rest["model"]))
        self._turns = self._governor.paced(count())

    def on_step_begin(
        self,
        args: "TrainingArguments",  # noqa: ARG002
        state: "TrainerState",  # noqa: ARG002
        control: "TrainerControl",
        **_rest: Any,
    ) -> None:
        """Rest as long as the device must; a governor told to end ends the training."""
        if next(self._turns, None) is None:
            control.should_training_stop = True

    # With gradient accumulation a step is many forward passes; each waits for its permit.
    on_substep_end = on_step_begin

    def on_train_end(
        self,
        args: "TrainingArguments",  # noqa: ARG002
        state: "TrainerState",
        control: "TrainerControl",  # noqa: ARG002
        **rest: Any,
    ) -> None:
        """Seal what was learnt, and announce it if a swarm was given."""
        if not state.is_world_process_zero:
            return  # of many processes with one adapter, the first speaks for all
        self.adapter = Adapter.from_model(rest["model"])
        self.patch = self._node.seal(self.adapter, domain=self._domain)
        if self._swarm is not None:
            self._swarm.publish(self.patch)
