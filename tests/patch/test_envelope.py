"""One door for bytes: whatever is wrong with them, they are refused and somebody is to blame."""

from dataclasses import replace

import pytest
import torch

from hivelearn import codec
from hivelearn.errors import PeerError, UsageError
from hivelearn.identity import CERTIFICATE_VALID_S, make
from hivelearn.patch import chunks, envelope, notice
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.adapter_spec import AdapterSpec, SpecError
from hivelearn.patch.envelope import VALID_S, Label, Patch, rebased, seal, unseal
from hivelearn.patch.limits import ALPHA_MAX
from hivelearn.patch.manifest import Body, Receipt, RouterCard
from hivelearn.patch.notice import read_envelope

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


ROOT, SIZE, CHUNK = BODY[11]
AUTHOR, RELAY = "author", "relay"


# --- what is honest comes through ---------------------------------------------------------


def test_what_is_sealed_is_unsealed():
    there = unseal(PATCH.envelope, PAYLOAD, now_s=NOW)
    assert there.id == PATCH.id == notice.record_id(OUTER[1])
    assert there.body == PATCH.body
    assert there.adapter.to_bytes() == PAYLOAD
    assert (there.adapter.alpha, there.adapter.base, there.domain) == (4.0, BASE, "roman")
    assert there.body.receipt == LABEL.receipt
    assert there.body.card == LABEL.card
    assert there.body.device == ME.device
    assert (there.body.created, there.body.valid_until) == (NOW, NOW + VALID_S)


def test_equal_input_seals_to_equal_bytes():
    assert seal(_adapter(), LABEL, ME).envelope == PATCH.envelope


def test_a_patch_without_history_receipt_or_card_is_a_patch():
    bare = Label(domain="a", base=BASE, seq=0, prev=None, now_s=NOW)
    patch = seal(_adapter(), bare, ME)
    assert unseal(patch.envelope, PAYLOAD, now_s=NOW).body == patch.body
    assert (patch.body.prev, patch.body.receipt, patch.body.card) == (None, None, None)


def test_a_notice_becomes_a_patch_when_the_payload_arrives():
    read = read_envelope(PATCH.envelope, now_s=NOW)
    assert envelope.unseal_notice(read, PAYLOAD).id == PATCH.id
    assert repr(read) == f"Notice({PATCH.id.hex()[:8]}, roman, {len(PAYLOAD)} bytes)"


def test_it_holds_until_its_last_second():
    unseal(PATCH.envelope, PAYLOAD, now_s=NOW + VALID_S)


# --- hostile payloads under an honest signature -------------------------------------------


def _signed(raw, identity=ME):
    return codec.encode({1: raw, 2: identity.sign(notice.SIGNATURE_TAG + raw)})


def _says(**fields):
    """An honest signature under a body in which some keys say something else."""
    return _signed(codec.encode(BODY | {int(name[1:]): value for name, value in fields.items()}))


def _promising(payload, **spec):
    section = BODY[9] | {int(name[1:]): value for name, value in spec.items()}
    root = chunks.root(chunks.leaves_of(payload))
    return _says(_9=section, _11=[root, len(payload), CHUNK]), payload


PAYLOADS = {
    "other bytes": ((PATCH.envelope, PAYLOAD[:-1] + b"?"), "payload.hash", RELAY),
    "a byte less": ((PATCH.envelope, PAYLOAD[:-1]), "payload.hash", RELAY),
    "a byte more": ((PATCH.envelope, PAYLOAD + b"\0"), "payload.hash", RELAY),
    "nothing": ((PATCH.envelope, b""), "payload.hash", RELAY),
    "another patch": ((PATCH.envelope, _adapter(["q"]).to_bytes()), "payload.hash", RELAY),
    "right root, other length": (
        (_says(_11=[ROOT, SIZE + 1, CHUNK]), PAYLOAD),
        "payload.hash",
        RELAY,
    ),
    "signed nonsense": (_promising(b"nonsense"), "st.size", AUTHOR),
    "signed pickle": (_promising(b"\x80\x04\x95" + b"\xff" * 100), "st.size", AUTHOR),
    "another rank than promised": (_promising(PAYLOAD, _1=3), "body.adapter", AUTHOR),
    "another type": (_promising(PAYLOAD, _3="BF16"), "body.adapter", AUTHOR),
    "other targets": (_promising(PAYLOAD, _4=["k", "q"]), "body.adapter", AUTHOR),
    "other layers": (_promising(PAYLOAD, _5=[0]), "body.adapter", AUTHOR),
    "a layer beyond all numbers": (
        _promising(_adapter([f"model.layers.{'9' * 60}.q"]).to_bytes()),
        "body.adapter",
        AUTHOR,
    ),
}


@pytest.mark.parametrize(("sent", "code", "fault"), PAYLOADS.values(), ids=PAYLOADS.keys())
def test_a_hostile_payload_is_refused_with_its_code_and_its_fault(sent, code, fault):
    with pytest.raises(PeerError) as caught:
        unseal(*sent, now_s=NOW)
    assert (caught.value.code, caught.value.fault) == (code, fault)


def test_the_greatest_alpha_that_can_be_signed_can_be_read():
    patch = seal(_adapter(alpha=ALPHA_MAX), LABEL, ME)
    assert patch.adapter.alpha == ALPHA_MAX


# --- sealing says no before it signs ------------------------------------------------------

UNSEALABLE = {
    "a domain with a blank": {"domain": "iso date"},
    "a predecessor of the first": {"seq": 0},
    "a licence of a page": {"licence": "a" * 65},
    "a loss that is no number": {"card": RouterCard(float("nan"), 1.0)},
    "an exact count": {"receipt": Receipt(1, 1, 3)},
    "another base": {"base": bytes(32)},
    "an expired certificate": {"now_s": float(NOW + CERTIFICATE_VALID_S + 1)},
}


class _Witness:
    """An identity that tells whether it was asked to sign."""

    def __init__(self):
        self.author, self.certificate, self.asked = ME.author, ME.certificate, False

    def sign(self, message):
        self.asked = True
        return ME.sign(message)


@pytest.mark.parametrize("change", UNSEALABLE.values(), ids=UNSEALABLE.keys())
def test_what_nobody_could_read_is_said_before_it_is_signed(change):
    witness = _Witness()
    with pytest.raises(UsageError) as caught:
        seal(_adapter(), replace(LABEL, **change), witness)
    assert not witness.asked
    assert len(caught.value.remedy) > 10


def test_an_adapter_whose_header_is_too_long_is_said_before_it_is_signed():
    name = ".".join(["x" * 60] * 3)
    ones = torch.ones(1, 1)
    wide = Adapter({f"{name}.{n:04}": (ones, ones) for n in range(2_048)}, 1, 1.0, BASE)
    with pytest.raises(UsageError, match="names of its 2048 modules"):
        seal(wide, LABEL, ME)


def test_a_stack_may_be_held_at_any_rank_but_sealed_at_64_only():
    name = next(iter(_adapter().factors))
    tall = Adapter({name: (torch.ones(65, 8), torch.ones(8, 65))}, 65, 65.0, BASE)
    witness = _Witness()
    with pytest.raises(UsageError, match="rank 65"):
        seal(tall, LABEL, witness)
    assert not witness.asked


# --- the door -----------------------------------------------------------------------------


def test_a_patch_is_not_made_by_hand():
    with pytest.raises(UsageError, match="not made by hand") as caught:
        Patch(PATCH.notice, PATCH.adapter, object())
    assert "node.seal" in caught.value.remedy


def test_a_patch_is_saved_as_a_folder_and_loaded_again(tmp_path):
    folder = PATCH.save(tmp_path / "patch")
    there = Patch.load(folder, now_s=NOW)
    assert (there.id, there.envelope) == (PATCH.id, PATCH.envelope)
    assert Adapter.load(folder).to_bytes() == PAYLOAD


@pytest.mark.parametrize("name", ["patch.cbor", "adapter_model.safetensors"])
def test_a_folder_without_its_parts_is_no_patch(tmp_path, name):
    (PATCH.save(tmp_path) / name).unlink()
    with pytest.raises(UsageError, match=name) as caught:
        Patch.load(tmp_path, now_s=NOW)
    assert "Adapter.load" in caught.value.remedy


def test_a_changed_folder_is_refused(tmp_path):
    folder = PATCH.save(tmp_path)
    (folder / "adapter_model.safetensors").write_bytes(_adapter(["q"]).to_bytes())
    with pytest.raises(PeerError) as caught:
        Patch.load(folder, now_s=NOW)
    assert caught.value.code == "payload.hash"


def test_it_says_which_patch_it_is():
    assert repr(PATCH).startswith(f"Patch({PATCH.id.hex()[:8]}, roman, Adapter(rank=2")
    assert rebased(PATCH.adapter, ID).base == ID


def test_a_body_by_another_author_than_its_certificate_s_cannot_exist():
    with pytest.raises(PeerError, match="author"):
        replace(PATCH.body, author=OTHER.author)


def test_sections_are_read_back_equal():
    spec = AdapterSpec.of(PATCH.adapter, shared_a=True)
    assert AdapterSpec.from_value(spec.to_value()) == spec
    with pytest.raises(SpecError):
        replace(spec, rank=3).check(PATCH.adapter)
    assert Body.from_value(codec.decode(PATCH.body.to_bytes())) == PATCH.body
    silent = Receipt(1, 2, 4)
    assert Receipt.from_value(silent.to_value()) == silent


def test_a_saved_patch_says_its_domain_its_licence_and_what_its_author_measured(tmp_path):
    label = replace(LABEL, licence="MIT", receipt=Receipt(12, 345, 32, 2.5, 0.5))
    text = (seal(_adapter(), label, ME).save(tmp_path) / "README.md").read_text()
    for said in (f"# LoRA patch for {LABEL.domain}", "license: mit", f'- "{LABEL.domain}"'):
        assert said in text
    assert "12 steps" in text
    assert "2.500 before, 0.500 after" in text
