"""Evidence to Verdict: what is adopted, admitted, kept apart or refused.

Two questions, never mixed up. A *merge* replaces what a domain answers with, so
it must be better on the own holdout: the lower bound of its gain is above 0. An
*expert* is added and routed to, so it must do no harm, and its author must be
trusted. In both, harm is a lower bound below -τ: what could have cost more than
.02 nats is not let in for want of evidence. Blame needs more: an author is at
fault only if the whole interval lies below -τ.

No model and no tensor here; :mod:`hivelearn.gate.probes` fills the evidence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Final

from hivelearn.gate.gain import Gain, Measure, Unmeasured, capped
from hivelearn.patch.verdict import Verdict

_accepted: Final = partial(Verdict, accepted=True, layer="rule")
_refused: Final = partial(Verdict, accepted=False, layer="rule")
UNMEASURED: Final = Unmeasured()
# One hand makes a batch: what lies beside a fault of its author rests a round.
BESIDE_A_FAULT: Final = _refused(
    code="trust.fault", why="another patch of its author was refused in this round; sandboxed"
)


@dataclass(frozen=True, slots=True)
class RuleLimits:
    """The numbers that the rules compare with."""

    tau: float = 0.02  # nats per token; a loss below it is no harm
    cohort_min: int = 4  # with fewer a median absolute deviation means nothing
    mads: float = 3.0 * 1.48  # 1.48 MAD is one standard deviation of a normal cohort
    outlier_min: float = 0.03  # nats; a tight cohort must not make pedants of us


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was measured of one candidate, each gain against what is served now."""

    domain: str
    own: Measure = UNMEASURED  # on the own holdout of ``domain``
    others: Mapping[str, Measure] = field(default_factory=dict)  # own holdouts elsewhere
    base: Measure = UNMEASURED  # on the shipped general texts

    def __str__(self) -> str:
        """Tell every gain, own first: ``own +0.031 nats …; iso-date: unmeasured here``."""
        others = [f"{name}: {self.others[name]}" for name in sorted(self.others)]
        return "; ".join([f"own {self.own}", *others, f"base texts: {self.base}"])


def judge_merge(evidence: Evidence, limits: RuleLimits | None = None) -> Verdict:
    """Adopt a merged candidate iff it is better at home and harms nothing else.

    Args:
        evidence: own, other and base gains of the candidate against the incumbent.
        limits: None for the defaults.

    Returns:
        A verdict with code ``fit.better``, ``evidence.few``, ``fit.no-lift`` or
        ``fit.harm``. The fault is always nobody's: the merge is our own.
    """
    own = evidence.own
    if isinstance(own, Unmeasured):
        return _refused(code="evidence.few", why=str(own))
    if not own.low > 0:
        return _refused(code="fit.no-lift", why=f"no lift. own {own}", measured=own.low, limit=0.0)
    harm = _harm(_elsewhere(evidence), limits or RuleLimits())
    if harm is not None:
        name, gain, limit = harm
        why = f"harms {name}: {gain}"
        return _refused(code="fit.harm", why=why, measured=gain.low, limit=limit)
    return _accepted(code="fit.better", why=str(evidence), measured=own.low, limit=0.0)


def judge_expert(evidence: Evidence, *, trusted: bool, limits: RuleLimits | None = None) -> Verdict:
    """Admit an expert iff it harms nothing through the router and its author is trusted.

    Args:
        evidence: gains measured *through the router*, with the expert in the pool
            against without it.
        trusted: whether the author is vouched for or proven.
        limits: None for the defaults.

    Returns:
        Code ``fit.harm`` (refused), ``trust.unknown`` (not accepted, and nobody's
        fault: it belongs in the sandbox) or ``fit.harmless`` (admitted).
    """
    limits = limits or RuleLimits()
    measures = {evidence.domain: evidence.own, **_elsewhere(evidence)}
    harm = _harm(measures, limits)
    if harm is not None:
        name, gain, limit = harm
        # A wide interval is our lack of evidence, not the author's misdeed.
        return _refused(
            code="fit.harm",
            why=f"harms {name}: {gain}",
            measured=gain.low,
            limit=limit,
            fault="author" if gain.high < limit else "nobody",
        )
    if not trusted:
        return _refused(code="trust.unknown", why="its author is not trusted yet; sandboxed")
    measured = sum(isinstance(measure, Gain) for measure in measures.values())
    why = f"no harm on {measured} of {len(measures)} probes; own {evidence.own}"
    return _accepted(code="fit.harmless", why=why)


def judge_outlier(
    loss: float, cohort: Sequence[float], gain: Measure, limits: RuleLimits | None = None
) -> Verdict:
    """Refuse a patch that stands out from comparable ones and makes things worse.

    An absolute gate ("must improve my holdout") rejects 46 % of honest updates, so
    this one is relative: the loss exceeds the cohort's median by max(3·1.48·MAD,
    .03) *and* the patch worsens the result. Novelty alone is no offence.

    Args:
        loss: nats per answer token with this patch alone.
        cohort: the same of all comparable patches, this one's among them.
        gain: of taking the patch, against what is served now.
        limits: None for the defaults.

    Returns:
        Code ``fit.outlier`` (the author's fault), ``fit.within``, or, for fewer than
        four patches, ``cohort.small``: then the interval against the incumbent decides.
    """
    limit = outlier_limit(cohort, limits)
    if limit is None:
        return _accepted(code="cohort.small", why=f"only {len(cohort)} comparable patches")
    measured = capped(loss)
    why = f"loss {measured:.3f}, a cohort of {len(cohort)} allows {limit:.3f}; gain {gain}"
    worse = isinstance(gain, Gain) and gain.mean < 0
    if worse and measured > limit:
        return _refused(code="fit.outlier", why=why, measured=measured, limit=limit, fault="author")
    return _accepted(code="fit.within", why=why, measured=measured, limit=limit)


def outlier_limit(cohort: Sequence[float], limits: RuleLimits | None = None) -> float | None:
    """Return the loss above which a patch stands out; None for a cohort too small to tell."""
    limits = limits or RuleLimits()
    if len(cohort) < limits.cohort_min:
        return None
    losses = [capped(each) for each in cohort]
    middle = median(losses)
    spread = median(abs(each - middle) for each in losses)
    return middle + max(limits.mads * spread, limits.outlier_min)


def _elsewhere(evidence: Evidence) -> dict[str, Measure]:
    return {**evidence.others, "base texts": evidence.base}


def _harm(measures: Mapping[str, Measure], limits: RuleLimits) -> tuple[str, Gain, float] | None:
    """Return the measured probe with the lowest bound, if that is below -τ, and the limit."""
    gains = [(each.low, name, each) for name, each in measures.items() if isinstance(each, Gain)]
    low, name, gain = min(gains, default=(0.0, "", None))
    return None if gain is None or low >= -limits.tau else (name, gain, -limits.tau)
