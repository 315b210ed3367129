"""An adapter becomes a signed patch on the own shelf; nothing here makes it serve.

The router card and the receipt come from this node's held-out corrections: what a
patch says of itself was measured by its author.
"""

import math
from collections.abc import Sequence

from hivelearn.errors import UsageError
from hivelearn.gate.gain import Measure, Unmeasured, paired_gain
from hivelearn.node import measure, own_records
from hivelearn.node.ask import experts
from hivelearn.node.context import NodeContext
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.envelope import Patch
from hivelearn.patch.manifest import SIGNED_LOSS_MAX, Receipt
from hivelearn.patch.sealable import refuse_unsealable
from hivelearn.store.correction import check_domain
from hivelearn.training.session import TrainingSession


def seal(context: NodeContext, adapter: Adapter, domain: str, licence: str = "") -> Patch:
    """Make a patch of an adapter from elsewhere: a Trainer run, a folder, a merge.

    Its router card comes from this node's holdout of the domain, if there is one.

    Raises:
        UsageError: it does not fit this node's model, is too large, changes nothing, or is
            not finite.
    """
    from hivelearn.gate.norms import nonfinite

    check_domain(domain)
    adapter = check_sealable(context, adapter)
    if broken := nonfinite(adapter):
        raise UsageError(
            f"the adapter holds NaN or infinity in {broken[0]}",
            remedy="Lower the learning rate and train again; nothing was sealed.",
        )
    if not adapter.acts:
        raise UsageError(
            "the adapter changes nothing: every B is zero",
            remedy="Train it first. If it was trained, its weights were not found when it was "
            "opened: look for PEFT's warning of missing keys, or read the folder with "
            "hl.Adapter.load.",
        )
    with context.store.writing(f"seal {domain}"):
        held = measure.holdout(context, domain)
        card = measure.card(context, adapter, held)
        return own_records.sign(context, adapter, domain, card=card, licence=licence)


def check_sealable(context: NodeContext, adapter: Adapter) -> Adapter:
    """Return the adapter with this model's names, or refuse what could not be sealed here.

    It may be trained or not.

    Raises:
        UsageError: it does not fit this node's model, or is too large for a patch.
    """
    from hivelearn.inference.lora import named_as  # loads transformers

    adapter = named_as(context.engine.shapes(), adapter)
    context.engine.check(adapter)
    refuse_unsealable(adapter)
    return adapter


def seal_trained(
    context: NodeContext, session: TrainingSession, domain: str, trained_on: int
) -> tuple[Patch, Measure]:
    """Seal what a training learnt, with what it measures on the own holdout.

    The caller holds the writer lock.
    """
    engine, adapter = context.engine, session.adapter()
    held = measure.holdout(context, domain)
    before: Sequence[float] = ()
    after: Sequence[float] = ()
    own: Measure = Unmeasured("no correction is held out to judge by")
    if held:
        before = experts.current(context).serve(engine, domain)(held)
        after = measure.losses(context, held, adapter)
        own = paired_gain(before, after, seed=context.config.seed)
    receipt = Receipt(
        steps=session.done,
        tokens=session.tokens,
        records=1 << (trained_on - 1).bit_length(),
        loss_before=_mean(before),
        loss_after=_mean(after),
    )
    card = measure.card(context, adapter, held)
    patch = own_records.sign(context, adapter, domain, card=card, receipt=receipt, shared_a=True)
    return patch, own


def _mean(losses: Sequence[float]) -> float | None:
    finite = [min(loss, SIGNED_LOSS_MAX) for loss in losses if not math.isnan(loss)]
    return sum(finite) / len(finite) if finite else None
