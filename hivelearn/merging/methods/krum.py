"""Krum and Multi-Krum: rules that count heads, kept apart because Sybils beat them.

Split one patch into ten identities and the ten are each other's nearest
neighbours, so they win. Use them where identities are known, as in the papers;
among strangers use :func:`hivelearn.merging.methods.robust.robust`.
"""

import torch
from torch import Tensor

from hivelearn.merging.errors import MergeError
from hivelearn.merging.methods.gram import distances
from hivelearn.merging.methods.zero_weight import without_zero_weights


@without_zero_weights
def krum(gram: Tensor, weights: Tensor, *, hostile: int | None = None) -> Tensor:
    """Return the one delta that is nearest to its ``n - hostile - 1`` nearest.

    Args:
        gram: (n, n) float64.
        weights: (n,) float64 ≥ 0; only whether one is 0 counts.
        hostile: how many of those with weight are taken for hostile, below n/2; by
            default as many as the proof allows, ``(n - 3) // 2``.

    Returns:
        (n,) float64, a single 1.

    Raises:
        MergeError: ``hostile`` is not in [0, n/2).

    Tolerates: ``hostile`` of n, if 2 · hostile + 2 < n, and no Sybils.

    Source: Blanchard et al., NeurIPS 2017. The number of neighbours is byzfl's; the
    paper has one less.
    """
    found = torch.zeros_like(weights)
    found[int(_scores(gram, hostile)[0].argmin())] = 1.0
    return found


@without_zero_weights
def multi_krum(gram: Tensor, weights: Tensor, *, hostile: int | None = None) -> Tensor:
    """Return the weighted mean of the ``n - hostile`` deltas that krum likes best.

    Arguments and errors as in :func:`krum`; weights say how much each of the chosen
    counts.

    Tolerates: as :func:`krum`. In the test described at
    :func:`hivelearn.merging.methods.robust.robust`: .08 with 4 hostile of 24, .8 with 16 of 36,
    anything with 180 Sybils.

    Source: as :func:`krum`; a proof for this rule: arXiv:2602.03899.
    """
    scores, hostile = _scores(gram, hostile)
    chosen = scores.argsort(stable=True)[: len(scores) - hostile]
    found = torch.zeros_like(weights)
    found[chosen] = weights[chosen]
    return found / found.sum()


def _scores(gram: Tensor, hostile: int | None) -> tuple[Tensor, int]:
    """Return each delta's squared distances to its nearest, summed, and ``hostile``."""
    count = len(gram)
    hostile = max(0, (count - 3) // 2) if hostile is None else int(hostile)
    if not 0 <= 2 * hostile < count:
        raise MergeError(
            f"{hostile} of {count} adapters cannot be taken for hostile: it must be less than half"
        )
    nearest = distances(gram).sort(dim=1).values[:, 1 : count - hostile]
    return nearest.sum(dim=1), hostile
