"""Envelopes before their payload: whatever is wrong with them, somebody is to blame.

The hostile ones are sealed by hand, with honest keys where the fault is to be the
author's: our own `seal` refuses to write them.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from hivelearn import codec
from hivelearn.errors import PeerError
from hivelearn.identity import make
from hivelearn.patch import notice
from hivelearn.patch import safetensors_header as header
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.adapter_spec import ADAPTER_LAYERS_MAX, ADAPTER_TARGETS_MAX
from hivelearn.patch.envelope import Label, seal, unseal
from hivelearn.patch.manifest import Receipt, RouterCard
from hivelearn.patch.notice import ENVELOPE_MAX_BYTES, read_envelope

NOW = 1_700_000_000
BASE = bytes([7]) * 32
ID = bytes([9]) * 32
ME = make(bytes(32), bytes([1]) * 32, NOW)
OTHER = make(bytes([2]) * 32, bytes([3]) * 32, NOW)
LABEL = Label(
    domain="roman",
    base=BASE,
    seq=3,
    prev=ID,
    epoch=77,
    now_s=NOW + 0.7,
    receipt=Receipt(steps=400, tokens=51_200, records=512, loss_before=2.5, loss_after=0.031),
    card=RouterCard(median=0.25, ceiling=0.5),
    licence="CC-BY-4.0",
)


def _adapter(modules=("model.layers.0.q", "model.layers.1.q"), rank=2, alpha=4.0):
    chance = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(shape, generator=chance)
    return Adapter({name: (draw(rank, 3), draw(5, rank)) for name in modules}, rank, alpha, BASE)


PATCH = seal(_adapter(), LABEL, ME)
PAYLOAD = PATCH.adapter.to_bytes()
OUTER = codec.decode(PATCH.envelope)
BODY = codec.decode(OUTER[1])


def _signed(raw, identity=ME):
    return codec.encode({1: raw, 2: identity.sign(notice.SIGNATURE_TAG + raw)})


def _says(identity=ME, **fields):
    """An honest signature under a body in which some keys say something else."""
    changed = {int(name[1:]): value for name, value in fields.items()}
    return _signed(codec.encode(BODY | changed), identity)


def _without(key):
    return _signed(codec.encode({k: v for k, v in BODY.items() if k != key}))


def _adapter_says(**fields):
    return _says(_9=BODY[9] | {int(name[1:]): value for name, value in fields.items()})


def _certified(identity=ME, *, device=None, not_after=NOW + 9, epoch=0, root_seed=None):
    """A body with a certificate for these fields, signed by the given root."""
    device = identity.device if device is None else device
    message = b"hivelearn/cert/1\0" + codec.encode([device, not_after, epoch])
    signature = SigningKey(root_seed or identity.root_seed).sign(message).signature
    return _says(identity, _2=identity.author, _3=[device, not_after, epoch, signature])


CHAIN = BODY[3]
ROOT, SIZE, CHUNK = BODY[11]
RECEIPT, CARD = BODY[12], BODY[13]
AUTHOR, RELAY, NOBODY = "author", "relay", "nobody"
HOSTILE = {
    # bytes
    "nothing": (b"", "canon", RELAY),
    "too large": (bytes(ENVELOPE_MAX_BYTES + 1), "frame.size", RELAY),
    "trailing byte": (PATCH.envelope + b"\0", "canon", RELAY),
    "cut": (PATCH.envelope[:-1], "canon", RELAY),
    "a number": (codec.encode(1), "envelope.form", RELAY),
    "no signature": (codec.encode({1: OUTER[1]}), "envelope.form", RELAY),
    "a third field": (codec.encode(OUTER | {3: None}), "envelope.form", RELAY),
    "a later field": (codec.encode(OUTER | {64: None}), "envelope.form", RELAY),
    "body as a map": (codec.encode({1: BODY, 2: OUTER[2]}), "envelope.form", RELAY),
    "body is not canonical": (_signed(b"\xa1\x18\x01\x00"), "canon", RELAY),
    "body is a list": (_signed(codec.encode([1, 2, 3])), "envelope.form", RELAY),
    "body is empty": (_signed(codec.encode({})), "envelope.form", RELAY),
    "true as kind": (_says(_1=True), "envelope.form", RELAY),
    "text as author": (_says(_2="me"), "envelope.form", RELAY),
    # who signed
    "another device signed": (_signed(OUTER[1], OTHER), "sig", RELAY),
    "no tag in the signature": (
        codec.encode({1: OUTER[1], 2: ME.sign(OUTER[1])}),
        "sig",
        RELAY,
    ),
    "signature of another length": (codec.encode({1: OUTER[1], 2: b""}), "sig", RELAY),
    "another author's certificate": (_says(_3=[OTHER.device, *CHAIN[1:]]), "cert.sig", RELAY),
    "another author": (_says(_2=OTHER.author), "cert.sig", RELAY),
    "a device that nobody certified": (
        _certified(OTHER, root_seed=bytes([5]) * 32),
        "cert.sig",
        RELAY,
    ),
    "a key of small order": (_certified(device=bytes(32)), "sig", RELAY),
    "a certificate of three fields": (_says(_3=CHAIN[:3]), "cert.form", RELAY),
    "a certificate of five fields": (_says(_3=[*CHAIN, 0]), "cert.form", RELAY),
    "a short device key": (_says(_3=[b"", *CHAIN[1:]]), "cert.form", RELAY),
    "an epoch beyond 32 bits": (_says(_3=[*CHAIN[:2], 2**32, CHAIN[3]]), "cert.form", RELAY),
    "no certificate": (_says(_3=[]), "cert.form", RELAY),
    "the certificate has expired": (_certified(not_after=NOW - 1), "cert.expired", NOBODY),
    "the record has expired": (_says(_15=NOW - 1), "body.expired", NOBODY),
    # which fields
    "an unknown critical key": (_says(_17=None), "body", AUTHOR),
    "key 63": (_says(_63=None), "body", AUTHOR),
    "key 0": (_says(_0=None), "body", AUTHOR),
    "a negative key": (_signed(codec.encode(BODY | {-1: None})), "body", AUTHOR),
    "no seq": (_without(4), "body", AUTHOR),
    "no licence": (_without(16), "body", AUTHOR),
    # the certificate's numbers, honestly certified
    "true as epoch": (_certified(epoch=True), "body", AUTHOR),
    # the feed
    "text as seq": (_says(_4="3"), "body", AUTHOR),
    "true as seq": (_says(_4=True), "body", AUTHOR),
    "negative seq": (_says(_4=-1), "body", AUTHOR),
    "seq of 2^63": (_says(_4=2**63), "body", AUTHOR),
    "first with a predecessor": (_says(_4=0), "body", AUTHOR),
    "a short predecessor": (_says(_5=bytes(31)), "body", AUTHOR),
    # keys 6 and 7 are reserved for ancestry: used, they are unknown critical keys
    "a parent": (_says(_6=[ID]), "body", AUTHOR),
    "parents of the wrong type": (_says(_6=None), "body", AUTHOR),
    "no parents": (_without(6), "body", AUTHOR),
    "a trunk": (_says(_7=ID), "body", AUTHOR),
    "a number as trunk": (_says(_7=0), "body", AUTHOR),
    "no trunk": (_without(7), "body", AUTHOR),
    # the base
    "a short base": (_says(_8=bytes(20)), "body", AUTHOR),
    "no base": (_says(_8=None), "body", AUTHOR),
    # the adapter section
    "no adapter section": (_says(_9=None), "body.adapter", AUTHOR),
    "an unknown key there": (_adapter_says(_7=0), "body.adapter", AUTHOR),
    "a missing key there": (_says(_9={1: 2, 2: 3}), "body.adapter", AUTHOR),
    "rank 0": (_adapter_says(_1=0), "body.adapter", AUTHOR),
    "rank 65": (_adapter_says(_1=65), "body.adapter", AUTHOR),
    "true as rank": (_adapter_says(_1=True), "body.adapter", AUTHOR),
    "alpha 0": (_adapter_says(_2=0), "body.adapter", AUTHOR),
    "negative alpha": (_adapter_says(_2=-1), "body.adapter", AUTHOR),
    "true as alpha": (_adapter_says(_2=True), "body.adapter", AUTHOR),
    "alpha 8e6": (_adapter_says(_2=8 * 10**12), "body.adapter", AUTHOR),
    "a type nobody has": (_adapter_says(_3="F8"), "body.adapter", AUTHOR),
    "no targets": (_adapter_says(_4=[]), "body.adapter", AUTHOR),
    "too many targets": (
        _adapter_says(_4=[f"t{n:03}" for n in range(ADAPTER_TARGETS_MAX + 1)]),
        "body.adapter",
        AUTHOR,
    ),
    "targets not sorted": (_adapter_says(_4=["q", "k"]), "body.adapter", AUTHOR),
    "a target twice": (_adapter_says(_4=["q", "q"]), "body.adapter", AUTHOR),
    "a number as target": (_adapter_says(_4=[1]), "body.adapter", AUTHOR),
    "a path as target": (_adapter_says(_4=["../q"]), "body.adapter", AUTHOR),
    "a base layer as target": (_adapter_says(_4=["base_layer"]), "body.adapter", AUTHOR),
    "true as layer": (_adapter_says(_5=[True]), "body.adapter", AUTHOR),
    "layers not sorted": (_adapter_says(_5=[1, 0]), "body.adapter", AUTHOR),
    "too many layers": (
        _adapter_says(_5=list(range(ADAPTER_LAYERS_MAX + 1))),
        "body.adapter",
        AUTHOR,
    ),
    "one as a flag": (_adapter_says(_6=1), "body.adapter", AUTHOR),
    # the domain is printed, compared and made a topic
    "no domain": (_says(_10=""), "body", AUTHOR),
    "a domain of 64": (_says(_10="a" * 64), "body", AUTHOR),
    "a domain in capitals": (_says(_10="Roman"), "body", AUTHOR),
    "a domain with a line break": (_says(_10="roman\n"), "body", AUTHOR),
    "a domain that is a path": (_says(_10="../roman"), "body", AUTHOR),
    "a domain that begins with a dot": (_says(_10=".roman"), "body", AUTHOR),
    "a domain in another script": (_says(_10="r\u043eman"), "body", AUTHOR),
    "a domain that colours a terminal": (_says(_10="\x1b[31m"), "body", AUTHOR),
    # the payload section
    "a short root": (_says(_11=[bytes(31), SIZE, CHUNK]), "body", AUTHOR),
    "no bytes": (_says(_11=[ROOT, 0, CHUNK]), "body", AUTHOR),
    "too many bytes": (
        _says(_11=[ROOT, header.PAYLOAD_MAX_BYTES + 1, CHUNK]),
        "body",
        AUTHOR,
    ),
    "other chunks": (_says(_11=[ROOT, SIZE, 1]), "body", AUTHOR),
    "true as chunks": (_says(_11=[ROOT, SIZE, True]), "body", AUTHOR),
    "a payload of two fields": (_says(_11=[ROOT, SIZE]), "body", AUTHOR),
    # the claims
    "a receipt that is text": (_says(_12="trust me"), "body", AUTHOR),
    "a receipt of six fields": (_says(_12=RECEIPT | {6: 0}), "body", AUTHOR),
    "a receipt of four fields": (
        _says(_12={k: v for k, v in RECEIPT.items() if k != 5}),
        "body",
        AUTHOR,
    ),
    "an exact count of records": (_says(_12=RECEIPT | {3: 511}), "body", AUTHOR),
    "true as steps": (_says(_12=RECEIPT | {1: True}), "body", AUTHOR),
    "negative tokens": (_says(_12=RECEIPT | {2: -1}), "body", AUTHOR),
    "a negative loss": (_says(_12=RECEIPT | {4: -1}), "body", AUTHOR),
    "false as loss": (_says(_12=RECEIPT | {5: False}), "body", AUTHOR),
    "a loss beyond all vocabularies": (_says(_12=RECEIPT | {5: 10**9 + 1}), "body", AUTHOR),
    "a card that is a list": (_says(_13=[1, 2]), "body", AUTHOR),
    "a card of three fields": (_says(_13=CARD | {3: 0}), "body", AUTHOR),
    "a card of one field": (_says(_13={1: 0}), "body", AUTHOR),
    "true as median": (_says(_13=CARD | {1: True}), "body", AUTHOR),
    "a negative median": (_says(_13=CARD | {1: -1}), "body", AUTHOR),
    "a ceiling above everything": (_says(_13=CARD | {2: 2**63}), "body", AUTHOR),
    "a floor above everything": (_says(_13=CARD | {65: 2**63}), "body", AUTHOR),
    "a negative floor": (_says(_13=CARD | {65: -1}), "body", AUTHOR),
    "a floor that need not be said": (_says(_13=CARD | {65: 0}), "body", AUTHOR),
    "true as floor": (_says(_13=CARD | {65: True}), "body", AUTHOR),
    "a floor in words": (_says(_13=CARD | {65: "low"}), "body", AUTHOR),
    # time and licence
    "made before 1970": (_says(_14=-1), "body", AUTHOR),
    "made at 2^63": (_says(_14=2**63), "body", AUTHOR),
    "valid until 2^63": (_says(_15=2**63), "body", AUTHOR),
    "true as date": (_says(_14=True), "body", AUTHOR),
    "a licence of 65": (_says(_16="a" * 65), "body", AUTHOR),
    "no epoch as an epoch": (_says(_64=0), "body", AUTHOR),
    "a negative epoch": (_says(_64=-1), "body", AUTHOR),
    "an epoch beyond a database's integers": (_says(_64=2**63), "body", AUTHOR),
    "an epoch in words": (_says(_64="first"), "body", AUTHOR),
    "true as an epoch": (_says(_64=True), "body", AUTHOR),
    "an epoch without a number": (_says(_4=0, _5=None), "body", AUTHOR),
    "a licence that colours a terminal": (_says(_16="\x1b[2J"), "body", AUTHOR),
    "a licence of two lines": (_says(_16="MIT\n"), "body", AUTHOR),
}


@pytest.mark.parametrize(("sent", "code", "fault"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_envelope_is_refused_with_its_code_and_its_fault(sent, code, fault):
    with pytest.raises(PeerError) as caught:
        read_envelope(sent, now_s=NOW)
    assert (caught.value.code, caught.value.fault) == (code, fault)


# A kind below nought is a later version's; a predecessor may be unknown after a crash.
READABLE = [(1, -1), (5, None), (6, []), (7, None), (12, None), (13, None), (16, "")]


@pytest.mark.parametrize("key", sorted(BODY))
@pytest.mark.parametrize("value", [None, True, -1, b"", "", [], {}], ids=repr)
def test_any_value_in_any_field_is_read_or_refused_as_a_peer_s(key, value):
    try:
        read_envelope(_signed(codec.encode(BODY | {key: value})), now_s=NOW)
    except PeerError:
        return
    assert (key, value) in READABLE


@given(st.integers(0, 8 * len(PATCH.envelope) - 1))
def test_no_bit_of_an_envelope_can_be_flipped(bit):
    changed = bytearray(PATCH.envelope)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(PeerError) as caught:
        read_envelope(bytes(changed), now_s=NOW)
    assert caught.value.fault == "relay"  # nobody signed that


@given(st.binary(max_size=400))
def test_random_bytes_are_refused_and_nothing_else_escapes(sent):
    with pytest.raises(PeerError):
        read_envelope(sent, now_s=NOW)


# --- what a later version may say ---------------------------------------------------------


@pytest.mark.parametrize("key", [65, 66, 2**64 - 1])
def test_keys_that_later_versions_add_are_kept_and_ignored(key):
    later = _signed(codec.encode(BODY | {key: ["something", {1: 2}]}))
    patch = unseal(later, PAYLOAD, now_s=NOW)
    assert patch.envelope == later
    assert patch.id != PATCH.id
    assert patch.body == PATCH.body


@pytest.mark.parametrize("section", [9, 12, 13])
def test_a_section_may_grow_as_the_body_may(section):
    grown = _says(**{f"_{section}": BODY[section] | {64: "later"}})
    assert read_envelope(grown, now_s=NOW).body == PATCH.body


@pytest.mark.parametrize("floor", [0.0, 0.000001, 0.75, 1000.0])
def test_a_card_keeps_its_floor_and_one_without_it_reads_as_before(floor):
    card = RouterCard(0.25, 0.5, floor)
    assert RouterCard.from_value(codec.decode(codec.encode(card.to_value()))) == card
    assert (card.to_value().keys() == {1, 2}) == (floor == 0.0)


@pytest.mark.parametrize("kind", [0, 2, 99, 2**64 - 1])
def test_a_kind_of_a_later_version_is_nobody_s_fault(kind):
    later = _signed(codec.encode({1: kind, 2: BODY[2], 3: BODY[3], 4: "anything"}))
    assert read_envelope(later, now_s=NOW) is None
    with pytest.raises(PeerError) as caught:
        unseal(later, PAYLOAD, now_s=NOW)
    assert (caught.value.code, caught.value.fault) == ("kind.unknown", "nobody")


def test_a_later_kind_must_be_signed_too():
    later = codec.encode({1: 2, 2: BODY[2], 3: BODY[3]})
    with pytest.raises(PeerError) as caught:
        read_envelope(_signed(later, OTHER), now_s=NOW)
    assert caught.value.code == "sig"


def test_a_later_record_may_not_know_its_predecessor():
    """A crash between number and signature leaves a gap, and a gap is nobody's fault."""
    assert read_envelope(_says(_5=None), now_s=NOW).body.prev is None
