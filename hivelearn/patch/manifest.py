"""The signed body of a record: everything a node must know before it asks for the payload.

Keys 1 … 16 and 64 of one canonical map (table in ``Body``). Keys 6 and 7 say what it builds
on (:mod:`hivelearn.patch.descent`); both are empty where it stands alone. Unknown keys up to 63
are critical and refused; those from 64 on are for later versions and ignored, here and
in the sections (the signature covers the bytes as received, so nothing is lost).
Reals are integers in units of 1e-6. Nothing here is looked up by name in a peer's text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from hivelearn import codec
from hivelearn.codec import fixed, real
from hivelearn.errors import PeerError
from hivelearn.identity import Certificate
from hivelearn.patch import safetensors_header as header
from hivelearn.patch.adapter_spec import AdapterSpec
from hivelearn.patch.chunks import CHUNK_BYTES, HASH_BYTES
from hivelearn.patch.descent import Descent
from hivelearn.patch.feed import EPOCH_BITS, Place

PATCH: Final = 1  # the only kind of record today; readers skip kinds they do not know
_KEYS: Final = frozenset(range(1, 17))
_EPOCH: Final = 64  # absent in a record of no feed, and in those of earlier versions
LICENCE: Final = re.compile(r"[A-Za-z0-9.+:() -]{0,64}")  # an SPDX expression; people print it
DOMAIN: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
SIGNED_LOSS_MAX: Final = 1_000.0  # nats per token; ln of any vocabulary is below 20
_FLOOR: Final = 65  # key of a card's floor: whoever does not know it can route without


class BodyError(PeerError):
    """A signed body says something that no body can say: its author's fault."""

    fault = "author"
    code = "body"

    def __init__(self, what: str) -> None:
        super().__init__(f"body refused: {what}")


def require(condition: bool, what: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Raise BodyError(what) unless ``condition``."""
    if not condition:
        raise BodyError(what)


def _require_numbers(*numbers: int) -> None:
    require(all(type(number) is int for number in numbers), "true is no number")


@dataclass(frozen=True, slots=True)
class RouterCard:
    """How a specialist's own holdout prompts look to it, so that others can route.

    All are mean nats per token of the user's content, template excluded.
    """

    median: float  # of its losses on them
    ceiling: float  # of the losses of what it claims
    floor: float = 0.0  # of how much more than it the base must be surprised by what it claims

    def to_value(self) -> dict[int, codec.Value]:
        """Return the map that is signed."""
        card: dict[int, codec.Value] = {1: fixed(self.median), 2: fixed(self.ceiling)}
        return card | ({_FLOOR: fixed(self.floor)} if self.floor else {})

    @classmethod
    def from_value(cls, value: object) -> Self:
        """Return the card in ``value`` or raise BodyError."""
        match value:
            case {1: int(median), 2: int(ceiling), **rest} if codec.ignorable(rest):
                floor = rest.get(_FLOOR, 0)
                if not isinstance(floor, int):
                    raise BodyError("the card's floor is no number")
                _require_numbers(median, ceiling, floor)
                top = fixed(SIGNED_LOSS_MAX)
                for name, each in (("median", median), ("ceiling", ceiling), ("floor", floor)):
                    require(0 <= each <= top, f"the card's {name} is out of range")
                require(floor > 0 or _FLOOR not in rest, "the card says its floor of nothing")
                return cls(real(median), real(ceiling), real(floor))
        raise BodyError("the router card is malformed")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the training cost and what it measured on the author's own holdout.

    ``records`` is rounded up to a power of two: it must not count people's
    corrections exactly. Losses are nats per answer token, None if not measured.
    """

    steps: int
    tokens: int
    records: int
    loss_before: float | None = None
    loss_after: float | None = None

    def to_value(self) -> dict[int, codec.Value]:
        """Return the map that is signed."""
        losses = (self.loss_before, self.loss_after)
        before, after = (None if loss is None else fixed(loss) for loss in losses)
        return {1: self.steps, 2: self.tokens, 3: self.records, 4: before, 5: after}

    @classmethod
    def from_value(cls, value: object) -> Self:
        """Return the receipt in ``value`` or raise BodyError."""
        match value:
            case {
                1: int(s),
                2: int(t),
                3: int(n),
                4: int() | None as b,
                5: int() | None as a,
                **rest,
            } if codec.ignorable(rest):
                _require_numbers(s, t, n, *(loss for loss in (b, a) if loss is not None))
                require(min(s, t, n) >= 0, "the receipt is malformed")
                require(n & (n - 1) == 0, "the receipt counts records exactly")
                for loss in (b, a):
                    require(
                        loss is None or 0 <= loss <= fixed(SIGNED_LOSS_MAX),
                        "a loss in the receipt is out of range",
                    )
                before, after = (None if x is None else real(x) for x in (b, a))
                return cls(s, t, n, before, after)
        raise BodyError("the receipt is malformed")


@dataclass(frozen=True, slots=True)
class Body:
    """One record; in a feed of its device, if it was published. Numbers are the map's keys."""

    author: bytes  # 2: Ed25519 root key
    certificate: Certificate  # 3: [device, not_after, epoch, signature]
    seq: int  # 4
    prev: bytes | None  # 5: id of seq - 1
    base: bytes  # 8: fingerprint of the base model
    adapter: AdapterSpec  # 9
    domain: str  # 10
    payload_root: bytes  # 11: [root, length, chunk size]
    payload_bytes: int
    created: int  # 14: Unix seconds, advisory
    valid_until: int  # 15
    receipt: Receipt | None = None  # 12
    card: RouterCard | None = None  # 13
    licence: str = ""  # 16: SPDX expression, empty if not stated
    kind: int = PATCH  # 1
    epoch: int = 0  # 64: see hivelearn.patch.feed
    descent: Descent | None = None  # 6, 7: None stands alone

    def __post_init__(self) -> None:
        """Refuse every field outside its limit."""
        require(self.author == self.certificate.root, "author is not the certificate's root")
        require(0 <= self.seq < 2**63, "seq is out of range")
        require(0 <= self.epoch < 2**EPOCH_BITS, "the epoch is out of range")
        require(self.seq > 0 or not self.epoch, "a feed's numbers begin at 1")
        # A crash between number and signature leaves a gap: prev may be unknown, nobody at fault.
        require(self.prev is None or self.seq > 0, "prev does not fit seq")
        ids = [self.base, self.payload_root, *([] if self.prev is None else [self.prev])]
        require(all(len(i) == HASH_BYTES for i in ids), "an id is not 32 bytes")
        require(
            DOMAIN.fullmatch(self.domain) is not None, f"{self.domain[:80]!r} is no domain name"
        )
        require(
            0 < self.payload_bytes <= header.PAYLOAD_MAX_BYTES, "the payload's size is out of range"
        )
        require(
            0 <= self.created < 2**63 and 0 <= self.valid_until < 2**63, "a time is out of range"
        )
        if self.descent is not None and (fault := self.descent.fault()) is not None:
            raise BodyError(fault)
        require(
            LICENCE.fullmatch(self.licence) is not None,
            f"{self.licence[:80]!r} is no licence expression",
        )

    @property
    def device(self) -> bytes:
        """The key that signed: also the node's id on the network."""
        return self.certificate.device

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.epoch, self.seq, self.prev)

    def to_bytes(self) -> bytes:
        """Return the canonical bytes that are signed."""
        cert = self.certificate
        chain: list[codec.Value] = [cert.device, cert.not_after, cert.epoch, cert.signature]
        parts, onto = ([], None) if self.descent is None else self.descent.to_values()
        value: dict[int, codec.Value] = {
            1: self.kind,
            2: self.author,
            3: chain,
            4: self.seq,
            5: self.prev,
            6: parts,
            7: onto,
            8: self.base,
            9: self.adapter.to_value(),
            10: self.domain,
            11: [self.payload_root, self.payload_bytes, CHUNK_BYTES],
            12: None if self.receipt is None else self.receipt.to_value(),
            13: None if self.card is None else self.card.to_value(),
            14: self.created,
            15: self.valid_until,
            16: self.licence,
        }
        if self.epoch:
            value[_EPOCH] = self.epoch
        return codec.encode(value)

    @classmethod
    def from_value(cls, value: Mapping[int, Any]) -> Self:
        """Return the body in a decoded map.

        Raises:
            BodyError: a field is missing, of the wrong type or out of range.
        """
        require(
            codec.ignorable(value.keys() - _KEYS) and value.keys() >= _KEYS,
            "a key is missing or unknown",
        )
        match value:
            case {
                1: int(kind),
                2: bytes(author),
                3: [bytes(device), int(not_after), int(certified), bytes(signature)],
                4: int(seq),
                5: bytes() | None as prev,
                8: bytes(base),
                9: spec,
                10: str(domain),
                11: [bytes(root), int(length), int(chunk)],
                12: receipt,
                13: card,
                14: int(created),
                15: int(valid_until),
                16: str(licence),
            }:
                pass
            case _:
                raise BodyError("a field has the wrong type")
        require(chunk == CHUNK_BYTES, f"chunks of {chunk} bytes, and not of {CHUNK_BYTES}")
        _require_numbers(kind, not_after, certified, seq, length, chunk, created, valid_until)
        epoch = value.get(_EPOCH, 0)
        require(type(epoch) is int and (epoch > 0 or _EPOCH not in value), "no epoch is that")
        return cls(
            author=author,
            certificate=Certificate(author, device, not_after, certified, signature),
            seq=seq,
            prev=prev,
            base=base,
            adapter=AdapterSpec.from_value(spec),
            domain=domain,
            payload_root=root,
            payload_bytes=length,
            created=created,
            valid_until=valid_until,
            receipt=None if receipt is None else Receipt.from_value(receipt),
            card=None if card is None else RouterCard.from_value(card),
            licence=licence,
            kind=kind,
            epoch=epoch,
            descent=_descent(value[6], value[7]),
        )


def _descent(parts: object, onto: object) -> Descent | None:
    if onto is None:
        require(parts == [], "it has parts and builds on nothing")
        return None
    try:
        return Descent.from_values(parts, onto)
    except ValueError as error:
        raise BodyError(str(error)) from None
