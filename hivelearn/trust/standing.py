"""What a node remembers of an author: vouches of people, and its own judgements.

Two ways to be known: somebody vouched (trust begins with a person one knows),
or five patches in a row helped here (proof). One confirmed harm takes the proof
away; after two a vouch is worth nothing.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final, Literal

from hivelearn.errors import UsageError
from hivelearn.identity import KEY_BYTES
from hivelearn.trust.beta import NO_EVIDENCE, Beta

NOTE_MAX: Final = 280  # characters
PROVEN_AFTER: Final = 5  # judged successes since the last harm
WITHDRAWN_AFTER: Final = 2  # confirmed harms after which no vouch helps
HARM_NATS: Final = 0.02  # per answer token; smaller losses are inside the noise of a holdout

Judgement = Literal["success", "failure", "harm"]


@dataclass(frozen=True, slots=True)
class Vouch:
    """A person's word for another: I know whose key this is, and trust them."""

    by: bytes  # who vouches: one's own key, or an author whose published vouch arrived
    author: bytes  # who is vouched for
    note: str = ""  # "met in person"; for eyes only
    at_s: int = 0  # seconds since 1970, advisory; no rule depends on it

    def __post_init__(self) -> None:
        _require_key(self.by)
        _require_key(self.author)
        if len(self.note) > NOTE_MAX:
            raise UsageError(
                f"a note of {len(self.note)} characters", remedy=f"Keep it below {NOTE_MAX}."
            )


@dataclass(frozen=True, slots=True)
class Standing:
    """This node's own experience with one author; nobody else's word is in it."""

    author: bytes
    evidence: Beta = NO_EVIDENCE
    successes: int = 0  # judged successes since the last confirmed harm; they do not fade
    harms: int = 0  # confirmed harms, for ever

    def __post_init__(self) -> None:
        _require_key(self.author)
        if self.successes < 0 or self.harms < 0:
            raise UsageError(
                "a negative count", remedy="Restore the trust records from before they were edited."
            )

    @property
    def proven(self) -> bool:
        """Whether enough patches of this author helped here, without harm since."""
        return self.successes >= PROVEN_AFTER

    @property
    def withdrawn(self) -> bool:
        """Whether vouches for this author no longer count."""
        return self.harms >= WITHDRAWN_AFTER

    def counted(self, judgements: Collection[Judgement]) -> "Standing":
        """Return the standing with so many judgements more; no round has passed.

        Only author faults belong here; bytes that do not verify blame the peer
        who delivered them.
        """
        good = sum(judgement == "success" for judgement in judgements)
        harms = sum(judgement == "harm" for judgement in judgements)
        return Standing(
            author=self.author,
            evidence=self.evidence.counted(good, len(judgements) - good),
            successes=0 if harms else self.successes + good,
            harms=self.harms + harms,
        )

    def after_round(self, judgements: Collection[Judgement] = ()) -> "Standing":
        """Return the standing after one more round, in which so many patches were judged.

        Evidence fades by rounds, also that of authors who were not judged in one.
        """
        return replace(self, evidence=self.evidence.after_round()).counted(judgements)


def judge(gain_low: float, gain_high: float) -> Judgement | None:
    """Return what a measured gain says of its author, or None if it says nothing.

    A harm is *confirmed* when even the upper end of the interval lies below
    ``-HARM_NATS``: a wide interval around zero ruins nobody's name.

    Args:
        gain_low: lower end of the 95 % interval, nats per answer token.
        gain_high: its upper end.

    Raises:
        UsageError: the ends are not numbers in order.
    """
    if not gain_low <= gain_high:
        raise UsageError(
            f"[{gain_low}, {gain_high}] is no interval", remedy="Give the lower end first."
        )
    if gain_low > 0:
        return "success"
    if gain_high < -HARM_NATS:
        return "harm"
    return "failure" if gain_high < 0 else None


def _require_key(key: bytes) -> None:
    if type(key) is not bytes or len(key) != KEY_BYTES:
        raise UsageError(
            "an author is named by a key of 32 bytes",
            remedy="Give the full public key (hl1…), not a short name.",
        )
