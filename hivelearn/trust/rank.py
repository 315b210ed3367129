"""How much of one's own trust reaches each author along vouches.

Personalised PageRank: trust starts at the roots (oneself), and each author
hands 85 % of what arrives in equal parts to those whom they vouch for. Nobody
outside the reach of a root's vouches gets anything, however many they are and
however they vouch for one another.

Source: Page et al. 1999, "The PageRank Citation Ranking", section 6, on a vouch graph
as in Levien's Advogato. Ours: the cut for vouching for those who did harm, and
the weak edge that an author's own proof is worth.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from hivelearn.errors import UsageError
from hivelearn.trust.standing import Standing, Vouch

DAMPING: Final = 0.85
HARM_CUT: Final = 0.8  # of a voucher's trust, for each confirmed harm of a vouchee
PROOF_EDGE: Final = 0.5  # five judged successes are worth half a person's word
PROOFS_TOGETHER: Final = 1.0  # and all proven strangers together one person's

_CLOSE: Final = 1e-12  # a round moves at most 85 % of what the last one moved: 170 rounds

Edges = dict[bytes, dict[bytes, float]]  # voucher -> author -> how much the word weighs


def rank(
    roots: Collection[bytes],
    vouches: Iterable[Vouch],
    standings: Mapping[bytes, Standing],
    *,
    proofs: bool = True,
) -> dict[bytes, float]:
    """Return the share of trust of every author whom a root's trust reaches.

    Args:
        roots: whose judgement counts: one's own key, rarely more.
        vouches: all that are known, in any order; vouches of strangers change nothing.
        standings: own experience; an absent author has none.
        proofs: whether trust also flows to those whom only their work speaks for.

    Returns:
        Author to share; roots included; the sum is 1. Equal inputs give equal
        floats, whatever their order.

    Raises:
        UsageError: no root is given.
    """
    if not roots:
        raise UsageError("trust needs a root", remedy="Give your own public key as the root.")
    said = {(vouch.by, vouch.author) for vouch in vouches if vouch.by != vouch.author}
    harms = {author: standing.harms for author, standing in standings.items()}
    cut: dict[bytes, float] = {}
    for voucher, author in sorted(said):
        if voucher not in roots:  # one does not lose trust in oneself
            cut[voucher] = cut.get(voucher, 1.0) * HARM_CUT ** harms.get(author, 0)
    words: Edges = {}
    for voucher, author in sorted(said):
        if author not in standings or not standings[author].withdrawn:
            words.setdefault(voucher, {})[author] = 1.0
    if proofs:
        words |= _with_proofs(roots, words, standings)
    return _flow(sorted(set(roots)), words, cut)


def _with_proofs(
    roots: Collection[bytes], words: Edges, standings: Mapping[bytes, Standing]
) -> Edges:
    """Return the roots' rows with the weak edges to those who are proven and not vouched for."""
    rows: Edges = {}
    for root in roots:
        own = words.get(root, {})
        earned = [a for a in sorted(standings) if standings[a].proven and a not in (root, *own)]
        if earned:
            worth = min(PROOF_EDGE, PROOFS_TOGETHER / len(earned))
            rows[root] = own | dict.fromkeys(earned, worth)
    return rows


def _flow(roots: list[bytes], words: Edges, cut: Mapping[bytes, float]) -> dict[bytes, float]:
    edges = {
        voucher: [(author, word / sum(row.values())) for author, word in sorted(row.items())]
        for voucher, row in words.items()
    }
    trust = dict.fromkeys(roots, 1.0 / len(roots))
    moved = 1.0
    while moved > _CLOSE:
        handed: dict[bytes, float] = {}
        for voucher in sorted(trust):  # sorted: float sums depend on order
            for author, share in edges.get(voucher, ()):
                part = DAMPING * trust[voucher] * share * cut.get(author, 1.0)
                handed[author] = handed.get(author, 0.0) + part
        back = (1.0 - sum(handed.values())) / len(roots)  # what nobody is handed comes home
        for root in roots:
            handed[root] = handed.get(root, 0.0) + back
        moved = sum(abs(handed[author] - trust.get(author, 0.0)) for author in handed)
        trust = handed
    return trust
