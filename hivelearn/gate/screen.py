"""The gate without a model: may these factors be probed at all?

Cheapest first, and the first refusal ends it. The format was judged when the
envelope was opened; here come policy (base, rank, size) and numbers (finite,
size of the change). What is wrong with the numbers is the author's fault; a
policy is ours, so a refusal by it is nobody's.

A change is too large against the base weight it changes, or against what
trusted patches do to the same module. Per module *and* as a whole: ten times
the norm hidden in one of 224 modules raises the whole only 1.2 times.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Final

from hivelearn.gate.norms import delta_norms, nonfinite, whole_norm
from hivelearn.patch.limits import PATCH_RANK_MAX
from hivelearn.patch.safetensors_header import PAYLOAD_MAX_BYTES
from hivelearn.patch.verdict import Verdict

if TYPE_CHECKING:
    from hivelearn.patch.adapter import Adapter

_passed: Final = partial(Verdict, accepted=True)
_refused: Final = partial(Verdict, accepted=False)
Norms = Mapping[str, float]  # module -> Frobenius norm


@dataclass(frozen=True, slots=True)
class ScreenLimits:
    """What this node lets in; each may be lowered."""

    rank_max: int = PATCH_RANK_MAX
    payload_max_bytes: int = PAYLOAD_MAX_BYTES
    base_ratio_max: float = 10.0  # ‖delta‖ to ‖weight‖; only amplified attacks come near
    cohort_ratio_max: float = 4.0  # ‖delta‖ to the median of trusted patches
    cohort_min: int = 4  # with fewer a median says nothing
    module_floor: float = 0.01  # of the whole median: allowed where trusted ones hardly move
    still: float = 2.0**-24  # ‖delta‖ to ‖weight‖: the rounding of a float32


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a patch is compared with."""

    base: bytes  # fingerprint of the model here
    weights: Norms | None = None  # of the base weights, if known
    trusted: Sequence[Norms] = ()  # :func:`delta_norms` of trusted patches of the domain


def screen(adapter: "Adapter", around: Surroundings, limits: ScreenLimits | None = None) -> Verdict:
    """Return the first refusal, or an acceptance with code ``screen.pass``."""
    verdicts = _checks(adapter, around, limits or ScreenLimits())
    refusal = next((verdict for verdict in verdicts if not verdict.accepted), None)
    why = f"{len(adapter.factors)} modules, rank {adapter.rank}"
    return refusal or _passed(layer="numbers", code="screen.pass", why=why)


def _checks(adapter: "Adapter", around: Surroundings, limits: ScreenLimits) -> Iterator[Verdict]:
    """Judge lazily, cheapest first: norms are not summed of what holds a NaN."""
    yield check_base(adapter.base, around.base)
    yield check_size(adapter, limits)
    yield check_finite(nonfinite(adapter))
    norms = delta_norms(adapter)
    yield check_moves(norms, around.weights or {}, limits)
    yield check_against_base(norms, around.weights or {}, limits)
    yield check_against_cohort(norms, around.trusted, limits)


def check_base(theirs: bytes | None, ours: bytes) -> Verdict:
    """Refuse an adapter of another base model; that is nobody's fault."""
    if theirs == ours:
        return _passed(layer="policy", code="policy.base", why="same base model")
    name = "an unnamed base model" if theirs is None else f"base model {theirs.hex()[:8]}"
    why = f"made for {name}, this node runs {ours.hex()[:8]}"
    return _refused(layer="policy", code="policy.base", why=why)


def check_size(adapter: "Adapter", limits: ScreenLimits) -> Verdict:
    """Refuse a rank or a size above what this node lets in."""
    for code, measured, limit in (
        ("policy.rank", adapter.rank, limits.rank_max),
        ("policy.size", adapter.nbytes, limits.payload_max_bytes),
    ):
        if measured > limit:
            why = f"{code.partition('.')[2]} {measured}, limit {limit}"
            return _refused(layer="policy", code=code, why=why, measured=measured, limit=limit)
    why = f"rank {adapter.rank}, {adapter.nbytes} bytes"
    return _passed(layer="policy", code="policy.size", why=why)


def check_finite(broken: Sequence[str]) -> Verdict:
    """Refuse NaN and infinity: one element would spread over every later merge."""
    if not broken:
        return _passed(layer="numbers", code="num.nonfinite", why="all finite")
    return _refused(
        layer="numbers",
        code="num.nonfinite",
        why=f"NaN or infinity in {broken[0]} and {len(broken) - 1} other modules",
        measured=len(broken),
        limit=0,
        fault="author",
    )


def check_moves(norms: Norms, weights: Norms, limits: ScreenLimits) -> Verdict:
    """Refuse a change that no weight would feel; nobody gains by it, and nobody is hurt.

    A patch that does nothing cannot be told from one that waits for its moment:
    it would be admitted as harmless and hold a place for ever.
    """
    shares = {module: norm / (weights.get(module) or 1.0) for module, norm in norms.items()}
    most = max(shares.values(), default=0.0)
    judged = partial(Verdict, layer="numbers", code="num.zero", measured=most, limit=limits.still)
    if most > limits.still:
        return judged(accepted=True, why=f"moves a weight by {most:.3g} of its norm")
    return judged(accepted=False, why="it changes nothing")


def check_against_base(norms: Norms, weights: Norms, limits: ScreenLimits) -> Verdict:
    """Refuse a change many times larger than the weight that it changes."""
    allowed = {
        module: limits.base_ratio_max * weights[module] for module in norms if module in weights
    }
    return _worst(norms, allowed, "norm.base")


def check_against_cohort(norms: Norms, trusted: Sequence[Norms], limits: ScreenLimits) -> Verdict:
    """Refuse a change larger than 4 x the median of trusted patches.

    A module is compared if at least ``cohort_min`` of them change it; the whole
    is compared always, which also covers modules that nobody else has.
    """
    if len(trusted) < limits.cohort_min:
        why = f"only {len(trusted)} comparable patches"
        return _passed(layer="numbers", code="norm.module", why=why)
    usual = median(whole_norm(each) for each in trusted)
    allowed = {}
    for module in norms:
        sizes = [each[module] for each in trusted if module in each]
        if len(sizes) >= limits.cohort_min:
            usual_here = max(median(sizes), limits.module_floor * usual)
            allowed[module] = limits.cohort_ratio_max * usual_here
    verdict = _worst(norms, allowed, "norm.module")
    if not verdict.accepted:
        return verdict
    limit = {"the whole": limits.cohort_ratio_max * usual}
    return _worst({"the whole": whole_norm(norms)}, limit, "norm.whole")


def _worst(norms: Norms, allowed: Norms, code: str) -> Verdict:
    """Judge the module that is furthest beyond what is allowed to it."""
    if not allowed:
        return _passed(layer="numbers", code=code, why="nothing to compare with")
    module = max(sorted(allowed), key=lambda name: _ratio(norms[name], allowed[name]))
    measured, limit = norms[module], allowed[module]
    why = f"{module}: change of norm {measured:.3g}, allowed {limit:.3g}"
    judged = partial(Verdict, layer="numbers", code=code, why=why, measured=measured, limit=limit)
    if measured <= limit:
        return judged(accepted=True)
    return judged(accepted=False, fault="author")


def _ratio(measured: float, limit: float) -> float:
    if limit == 0:
        return 0.0 if measured == 0 else float("inf")
    return measured / limit
