"""What this node's owner and its own experience say of others, kept in the home."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Final

from hivelearn.errors import UsageError
from hivelearn.gate.gain import Gain, Measure
from hivelearn.node.workbench import Workbench
from hivelearn.trust.beta import Beta
from hivelearn.trust.standing import Judgement, Standing, Vouch, judge
from hivelearn.trust.weights import Weights, authors_weights, known

_SETTING: Final = "standings"
_HEARD: Final = "heard"  # patch id, hex -> its judgement that counted


def standings(bench: Workbench) -> dict[bytes, Standing]:
    """Return own experience with every author on record."""
    kept = bench.store.notes.setting(_SETTING, {})
    return {
        bytes.fromhex(key): Standing(
            bytes.fromhex(key), Beta(**row["evidence"]), row["successes"], row["harms"]
        )
        for key, row in kept.items()
    }


def vouches(bench: Workbench) -> list[Vouch]:
    """Return the owner's vouches that stand."""
    me = bench.identity.author
    return [Vouch(me, v.author, v.note, int(v.at_s)) for v in bench.store.notes.vouches()]


def vouch(bench: Workbench, author: bytes, note: str) -> None:
    """Write down that the owner knows this author.

    Raises:
        UsageError: it is the node's own key, or the note is too long.
    """
    if author == bench.identity.author:
        raise UsageError(
            "this is the node's own key", remedy="Give the full key of the other node's owner."
        )
    Vouch(bench.identity.author, author, note)  # its limits hold here too
    with bench.store.writing("vouch"):
        bench.store.notes.vouch(author, note, bench.world.clock())


def trusted(bench: Workbench, author: bytes) -> bool:
    """Return whether an author's patches may serve: vouched for, or proven here."""
    roots = {bench.identity.author}
    return known([author], standings(bench), vouches(bench), roots=roots)[author] != "unknown"


def weights(bench: Workbench, gains: Mapping[bytes, float]) -> Weights:
    """Return each author's share of a merge, by measured gain (lower bounds, nats)."""
    roots = {bench.identity.author}
    return authors_weights(
        gains, standings(bench), vouches(bench), roots=roots, caps=bench.config.caps
    )


def judgement(gain: Measure) -> Judgement | None:
    """Return what a measured gain says of the patch's author; nothing if unmeasured."""
    return judge(gain.low, gain.high) if isinstance(gain, Gain) else None


def after_merge(bench: Workbench, said: Mapping[bytes, tuple[bytes, Judgement]]) -> None:
    """Let what a merge says of patches pass over their authors, once a patch.

    What rests in the sandbox is measured again at every merge; one good patch must
    not prove its author five times over. Only a harm is heard after another verdict.

    Args:
        bench: the node; the caller holds the writer lock.
        said: patch id to its author and the judgement.
    """
    heard: dict[str, str] = bench.store.notes.setting(_HEARD, {})
    judged: dict[bytes, list[Judgement]] = {}
    for patch, (author, judgement) in sorted(said.items()):
        if patch.hex() not in heard or (judgement == "harm" != heard[patch.hex()]):
            heard[patch.hex()] = judgement
            judged.setdefault(author, []).append(judgement)
    if judged:
        bench.store.notes.set(_HEARD, heard)
        after_round(bench, judged)


def after_round(bench: Workbench, judged: Mapping[bytes, Sequence[Judgement]]) -> None:
    """Let a round of judgements pass over all authors. The caller holds the writer lock."""
    before = standings(bench)
    authors = sorted(before.keys() | judged.keys())
    after = {
        author: before.get(author, Standing(author)).after_round(judged.get(author, ()))
        for author in authors
    }
    plain = {
        author.hex(): {
            "evidence": asdict(standing.evidence),
            "successes": standing.successes,
            "harms": standing.harms,
        }
        for author, standing in after.items()
    }
    bench.store.notes.set(_SETTING, plain)
