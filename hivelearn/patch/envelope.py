"""The one door: `seal` turns an adapter into a patch, `unseal` bytes into one.

Nothing else makes a ``Patch``, so holding one means: the signature holds, the
payload is the signed one, its header is strict, and it is the adapter that the
body promised. Whether it is any *good* is the gate's question, not this file's.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

from hivelearn import codec
from hivelearn.errors import PeerError, UsageError
from hivelearn.files import Replacement, replace_all
from hivelearn.identity import Identity
from hivelearn.patch import chunks, hub, notice
from hivelearn.patch import safetensors_header as header
from hivelearn.patch.adapter import Adapter
from hivelearn.patch.adapter_spec import AdapterSpec
from hivelearn.patch.descent import Descent
from hivelearn.patch.feed import Place
from hivelearn.patch.folder import written
from hivelearn.patch.manifest import DOMAIN, Body, Receipt, RouterCard
from hivelearn.patch.model_card import ModelCard, write_card
from hivelearn.patch.notice import Notice, read_envelope
from hivelearn.patch.peft_config import WEIGHTS_FILE
from hivelearn.patch.sealable import refuse_unsealable

ENVELOPE_FILE: Final = "patch.cbor"
VALID_S: Final = 365 * 86_400
_DOOR: Final = object()


@dataclass(frozen=True, eq=False)
class Patch:
    """An adapter with a verified envelope. Comes only from :func:`seal` and :func:`unseal`."""

    notice: Notice
    adapter: Adapter
    _door: object

    def __post_init__(self) -> None:
        """Keep the door the only one."""
        if self._door is not _DOOR:
            raise UsageError(
                "a Patch is not made by hand",
                remedy="Use node.seal(adapter, domain=...) for your own adapter.",
            )

    def __repr__(self) -> str:
        """Tell which patch it is."""
        return f"Patch({self.id.hex()[:8]}, {self.domain}, {self.adapter!r})"

    @property
    def id(self) -> bytes:
        """The record's id, 32 bytes."""
        return self.notice.id

    @property
    def body(self) -> Body:
        """The signed body."""
        return self.notice.body

    @property
    def domain(self) -> str:
        """What the author says it is about."""
        return self.notice.body.domain

    @property
    def envelope(self) -> bytes:
        """The bytes that gossip, as signed."""
        return self.notice.envelope

    def card(self) -> ModelCard:
        """Return what the README.md beside this patch says, with what its author measured."""
        body, receipt = self.body, self.body.receipt
        facts = {"domain": body.domain, **self.adapter.card().facts, "author": body.author.hex()}
        if receipt is not None:
            facts["training"] = (
                f"{receipt.steps} steps, {receipt.tokens} tokens, "
                f"about {receipt.records} corrections"
            )
            if receipt.loss_before is not None and receipt.loss_after is not None:
                facts["loss on the author's held-out corrections"] = (
                    f"{receipt.loss_before:.3f} before, {receipt.loss_after:.3f} after, "
                    "nats per token"
                )
        title, tags = f"LoRA patch for {body.domain}", (body.domain,)
        return ModelCard(title, self.adapter.origin, facts, body.licence, tags)

    def save(self, folder: str | Path) -> Path:
        """Write a PEFT folder with the envelope beside it; return the folder.

        Raises:
            FolderError, DiskError: the folder cannot be written.
        """
        path = self.adapter.save(folder)
        with written(path), Replacement(path / ENVELOPE_FILE) as signed:
            signed.file.write(self.envelope)
            replace_all((signed,))
            write_card(path, self.card())
        return path

    def push_to_hub(self, repo_id: str, **how: Any) -> str:
        """Upload this patch, with its envelope, to a hub; return the address of the commit.

        As :meth:`hivelearn.patch.adapter.Adapter.push_to_hub`.
        """
        return hub.push(self.save, repo_id, **how)

    @classmethod
    def load(cls, folder: str | Path, *, now_s: float | None = None) -> "Patch":
        """Read a folder that :meth:`save` wrote, and verify it as if it had come by the network.

        Args:
            folder: with adapter and envelope.
            now_s: Unix seconds, against what may have expired; None asks the clock.

        Raises:
            UsageError: no envelope there.
            PeerError: it does not verify.
        """
        path = Path(folder)
        try:
            envelope = (path / ENVELOPE_FILE).read_bytes()
            payload = (path / WEIGHTS_FILE).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UsageError(
                f"{path} is not a patch folder: {error.filename} is missing",
                remedy="A plain PEFT folder is read by hl.Adapter.load(folder).",
            ) from None
        return unseal(envelope, payload, now_s=time.time() if now_s is None else now_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What the author says about an adapter when sealing it."""

    domain: str
    base: bytes
    seq: int
    prev: bytes | None
    now_s: float
    receipt: Receipt | None = None
    card: RouterCard | None = None
    shared_a: bool = False
    licence: str = ""
    epoch: int = 0
    descent: Descent | None = None


def seal(adapter: Adapter, label: Label, identity: Identity) -> Patch:
    """Sign ``adapter`` and return the patch.

    The caller makes epoch and number of the label durable *before* calling: a
    number signed twice is a fork in everybody's eyes (``patch.feed``).

    Raises:
        UsageError: the domain's name is not of the form ``[a-z0-9][a-z0-9._-]{0,62}``,
            the adapter belongs to another base or is too large, the device's certificate
            has expired, or nobody could read the patch. Nothing was signed.
    """
    if DOMAIN.fullmatch(label.domain) is None:
        raise UsageError(
            f"{label.domain[:80]!r} is no domain name",
            remedy="Use lower-case letters, digits, dots, dashes, such as 'iso-date'.",
        )
    if adapter.base not in (None, label.base):
        raise UsageError(
            "the adapter was made for another base model",
            remedy="Seal it on a node that opened the model it was trained on.",
        )
    _require_certified(identity, label.now_s)
    refuse_unsealable(adapter)
    payload = adapter.to_bytes()
    try:
        header.read(payload)
        raw = _body(adapter, label, identity, payload).to_bytes()
        Body.from_value(cast("Mapping[int, Any]", codec.decode(raw)))
    except PeerError as error:
        # Said before signing: a signed record that nobody can read costs its author trust.
        raise UsageError(
            f"nobody could read this patch: {error.what}",
            remedy="Keep to the limits of hivelearn.patch.limits and hivelearn.patch.manifest.",
        ) from error
    # What we send, we can read.
    return unseal(_signed(raw, identity), payload, now_s=label.now_s)


def placed(patch: Patch, place: Place, identity: Identity, now_s: float) -> Patch:
    """Return the own ``patch`` signed again, as the record at ``place`` of a feed.

    It says what it said; epoch, number, predecessor and times are new, and so is its id.
    The caller makes the number durable before, as for :func:`seal`.

    Raises:
        UsageError: the device's certificate has expired. Nothing was signed.
    """
    _require_certified(identity, now_s)
    body = replace(
        patch.body,
        certificate=identity.certificate,
        epoch=place.epoch,
        seq=place.seq,
        prev=place.prev,
        created=int(now_s),
        valid_until=int(now_s) + VALID_S,
    )
    read = read_envelope(_signed(body.to_bytes(), identity), now_s=now_s)
    assert read is not None
    return Patch(read, patch.adapter, _DOOR)


def says_the_same(one: Body, other: Body) -> bool:
    """Return whether two records of an author differ only in place, times and certificate."""

    def said(body: Body) -> Body:
        return replace(
            body, certificate=one.certificate, epoch=0, seq=0, prev=None, created=0, valid_until=0
        )

    return one.author == other.author and said(one) == said(other)


def _require_certified(identity: Identity, now_s: float) -> None:
    if now_s > identity.certificate.not_after:
        raise UsageError(
            "this device's certificate has expired",
            remedy="Bring `identity/root.key` back for one start: it renews the certificate.",
        )


def _signed(raw: bytes, identity: Identity) -> bytes:
    return codec.encode({1: raw, 2: identity.sign(notice.SIGNATURE_TAG + raw)})


def _body(adapter: Adapter, label: Label, identity: Identity, payload: bytes) -> Body:
    return Body(
        author=identity.author,
        certificate=identity.certificate,
        seq=label.seq,
        prev=label.prev,
        base=label.base,
        adapter=AdapterSpec.of(adapter, shared_a=label.shared_a),
        domain=label.domain,
        payload_root=chunks.root(chunks.leaves_of(payload)),
        payload_bytes=len(payload),
        created=int(label.now_s),
        valid_until=int(label.now_s) + VALID_S,
        receipt=label.receipt,
        card=label.card,
        licence=label.licence,
        epoch=label.epoch,
        descent=label.descent,
    )


def unseal(envelope: bytes, payload: bytes, *, now_s: float) -> Patch:
    """Return the patch in these bytes.

    Args:
        envelope: as received, at most 64 KiB.
        payload: canonical safetensors, at most 512 MiB.
        now_s: Unix seconds.

    Raises:
        PeerError: anything that does not verify; nothing was loaded.
    """
    read = read_envelope(envelope, now_s=now_s)
    if read is None:
        raise PeerError("a record of a later kind", fault="nobody", code="kind.unknown")
    return unseal_notice(read, payload)


def unseal_notice(read: Notice, payload: bytes) -> Patch:
    """Return the patch of a notice whose payload has arrived. Raises as :func:`unseal`."""
    body = read.body
    chunks.check_payload(payload, body.payload_root, body.payload_bytes)
    adapter = Adapter.from_bytes(payload, body.adapter.alpha, body.base)
    body.adapter.check(adapter)
    return Patch(read, adapter, _DOOR)


def rebased(adapter: Adapter, base: bytes) -> Adapter:
    """Return ``adapter`` marked as belonging to ``base``."""
    return replace(adapter, base=base)
