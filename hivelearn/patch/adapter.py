"""LoRA factors without a signature: what training makes and merging combines.

An adapter is exactly ``delta = (alpha / rank) · B · A`` for each named module
and nothing else: no bias, no magnitude vector, no replaced module. Whatever
PEFT can express beyond that is refused with a remedy rather than dropped.

``to_bytes`` is canonical: equal factors give equal bytes on every machine.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import torch
from torch import Tensor

from hivelearn.codec import fixed, real
from hivelearn.files import Replacement, replace_all
from hivelearn.patch import chunks, gguf_file, hub, open_model, peft_config, peft_folder
from hivelearn.patch import safetensors_header as header
from hivelearn.patch.errors import AdapterError
from hivelearn.patch.folder import written
from hivelearn.patch.limits import ADAPTER_RANK_MAX, ALPHA_MAX, ALPHA_MIN
from hivelearn.patch.model_card import ModelCard, on_a_hub, write_card
from hivelearn.patch.origin import Origin
from hivelearn.patch.peft_config import CONFIG_FILE, WEIGHTS_FILE
from hivelearn.printable import printable

if TYPE_CHECKING:
    from torch.nn import Module

_DTYPES: Final = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
_TORCH: Final = {name: dtype for dtype, name in _DTYPES.items()}


def _refuse_other_types(factors: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Refuse factors that are not all of one type that an adapter can have."""
    first: dict[torch.dtype, str] = {}
    for name, pair in factors.items():
        for tensor in pair:
            first.setdefault(tensor.dtype, name)
    if len(first) == 1 and first.keys() <= _DTYPES.keys():
        return
    seen = sorted(f"{str(kind).removeprefix('torch.')} (as in {first[kind]})" for kind in first)
    raise AdapterError(
        f"the factors are {', '.join(seen)}, and an adapter has one type among float32, "
        "bfloat16 and float16",
        remedy="Cast them all to one before training goes on (for p in trainable parameters: "
        "p.data = p.data.float()); a folder of several types is brought to one by "
        "hl.merge([folder], dtype='float32').",
    )


@dataclass(frozen=True, eq=False)
class Adapter:
    """LoRA factors of a model's modules.

    Attributes:
        factors: module name (as in ``model.named_modules()``) to (A, B), sorted;
            A is (rank, d_in), B is (d_out, rank), all on the CPU, of one dtype
            among float32, bfloat16, float16.
        rank: 1 … 4096, the same for all modules; a patch may have 64.
        alpha: > 0, rounded to 1e-6, the unit in which it is signed: sealing an
            adapter changes nothing in it. The delta is ``(alpha / rank) · B @ A``.
        base: 32-byte fingerprint of the model it belongs to, or None if unknown.
        origin: the task and model that its folder named; never signed, never sent.
    """

    factors: Mapping[str, tuple[Tensor, Tensor]]
    rank: int
    alpha: float
    base: bytes | None = field(default=None)
    origin: Origin = field(default=Origin())

    def __post_init__(self) -> None:
        """Sort the modules and refuse what cannot be an adapter."""
        if not self.factors:
            raise AdapterError("an adapter has at least one module, and this one has none")
        if not (0 < self.rank <= ADAPTER_RANK_MAX):
            raise AdapterError(f"rank {self.rank} is not in 1 … {ADAPTER_RANK_MAX}")
        if not ALPHA_MIN <= self.alpha <= ALPHA_MAX:  # NaN fails this too
            raise AdapterError(
                f"alpha {self.alpha:g} is not in {ALPHA_MIN} … {ALPHA_MAX:g}",
                remedy="Train with a lora_alpha of that size (usual are r and 2 · r); with "
                "use_rslora, lora_alpha · √r counts.",
            )
        object.__setattr__(self, "alpha", real(fixed(self.alpha)))
        if 2 * len(self.factors) > header.TENSORS_MAX:
            raise AdapterError(
                f"an adapter has at most {header.TENSORS_MAX // 2} modules, and this one has "
                f"{len(self.factors)}"
            )
        factors = {name: self._checked(name, *self.factors[name]) for name in sorted(self.factors)}
        _refuse_other_types(factors)
        object.__setattr__(self, "factors", factors)

    def _checked(self, module: str, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        if not header.allowed(module):
            raise AdapterError(f"{module[:80]!r} cannot be the target of a LoRA")
        shapes = (*a.shape, *b.shape)
        if (a.ndim, b.ndim) != (2, 2) or (a.shape[0], b.shape[1]) != (self.rank, self.rank):
            raise AdapterError(
                f"{module}: A {tuple(a.shape)} and B {tuple(b.shape)} are not of rank {self.rank}"
            )
        if not 0 < min(shapes) <= max(shapes) <= header.DIM_MAX:
            raise AdapterError(f"{module}: a dimension of {shapes} is not in 1 … {header.DIM_MAX}")
        return a.detach().cpu().contiguous(), b.detach().cpu().contiguous()

    def __repr__(self) -> str:
        """Tell size and shape, not numbers."""
        return (
            f"Adapter(rank={self.rank}, alpha={self.alpha:g}, {len(self.factors)} modules, "
            f"{self.dtype}, {self.nbytes / 1e6:.2f} MB)"
        )

    @property
    def scale(self) -> float:
        """The factor before ``B @ A``."""
        return self.alpha / self.rank

    @property
    def dtype(self) -> str:
        """The safetensors name of the factors' type: F32, BF16 or F16."""
        return _DTYPES[next(iter(self.factors.values()))[0].dtype]

    @property
    def nbytes(self) -> int:
        """Bytes of all factors."""
        return sum(t.numel() * t.element_size() for pair in self.factors.values() for t in pair)

    @property
    def targets(self) -> tuple[str, ...]:
        """The last parts of the module names, sorted, each once."""
        return tuple(sorted({name.rsplit(".", 1)[-1] for name in self.factors}))

    @property
    def layers(self) -> tuple[int, ...]:
        """The first number in each module name, sorted, each once."""
        return peft_config.layers(self.factors)

    @property
    def acts(self) -> bool:
        """Whether any delta is not zero: one that was not trained yet changes nothing."""
        return any(bool(b.any()) for _, b in self.factors.values())

    def delta(self, module: str) -> Tensor:
        """Return the (d_out, d_in) float32 change of ``module``'s weight."""
        a, b = self.factors[module]
        return self.scale * (b.float() @ a.float())

    def to_bytes(self) -> bytes:
        """Return the canonical payload: sorted tensors, one metadata entry."""
        tensors = {
            header.key(module, factor): tensor
            for module, pair in self.factors.items()
            for factor, tensor in zip("AB", pair, strict=True)
        }
        shapes = {name: (t.shape[0], t.shape[1]) for name, t in tensors.items()}
        raw = (tensors[name].view(torch.uint8).numpy().tobytes() for name in sorted(tensors))
        return b"".join((header.write(shapes, self.dtype), *raw))

    def root(self) -> bytes:
        """Return the 32-byte content id of :meth:`to_bytes`."""
        return chunks.root(chunks.leaves_of(self.to_bytes()))

    @classmethod
    def from_bytes(cls, payload: bytes, alpha: float, base: bytes | None = None) -> Self:
        """Return the adapter of a canonical payload (strictly read).

        Raises:
            HeaderError: the payload is not canonical
                (:mod:`hivelearn.patch.safetensors_header`).
        """
        head = header.read(payload)
        dtype = _TORCH[head.dtype]

        def tensor(entry: header.TensorEntry) -> Tensor:
            at = head.data_start + entry.start
            flat = torch.frombuffer(
                bytearray(payload[at : at + entry.end - entry.start]), dtype=dtype
            )
            return flat.view(entry.shape)

        factors = {name: (tensor(a), tensor(b)) for name, (a, b) in head.factors.items()}
        return cls(factors, head.rank, alpha, base)

    def config(self) -> dict[str, object]:
        """Return PEFT's ``adapter_config.json``, always made anew, never a peer's."""
        return peft_config.config(list(self.factors), self.rank, self.alpha, self.origin)

    def card(self) -> ModelCard:
        """Return what the README.md beside these factors says of them."""
        facts = {
            "rank": str(self.rank),
            "alpha": f"{self.alpha:g}",
            "modules": f"{len(self.factors)} ({', '.join(self.targets)})",
            "type": self.dtype,
            "size": f"{self.nbytes / 1e6:.2f} MB",
        }
        if self.base is not None:
            facts["base fingerprint"] = self.base.hex()
        return ModelCard("LoRA adapter", self.origin, facts)

    def save(
        self,
        folder: str | Path,
        *,
        format: Literal["peft", "gguf"] = "peft",  # noqa: A002 - what everybody calls it
        model: Any = None,
    ) -> Path:
        """Write a folder that ``peft.PeftModel.from_pretrained`` loads; return it.

        An adapter that is there already stays until the new one is whole. A README.md is
        written too, unless one of somebody else is there.

        Args:
            folder: made if missing.
            format: "peft", or "gguf": one file, ``adapter_model.gguf``, for llama.cpp.
            model: the base of a GGUF, open or its folder; by default the folder that the
                adapter's origin names.

        Raises:
            AdapterError: there is no such format, or a GGUF of that base cannot be written.
            FolderError, DiskError: it cannot be written.
        """
        if format not in ("peft", "gguf"):
            raise AdapterError(f"there is no format {format!r}", remedy="Use 'peft' or 'gguf'.")
        with written(Path(folder)):
            path = self._saved(folder) if format == "peft" else self._saved_gguf(folder, model)
            write_card(path, self.card())
        return path

    def _saved_gguf(self, folder: str | Path, model: Any) -> Path:
        config = gguf_file.config_of(self.origin.model if model is None else model)
        data, path = gguf_file.to_bytes(self.factors, self.alpha, config), Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        with Replacement(path / gguf_file.GGUF_FILE) as new:
            new.file.write(data)
            replace_all((new,))
        return path

    def save_pretrained(self, folder: str | Path) -> Path:
        """Do what :meth:`save` does, under the name that PEFT's and transformers' users know."""
        return self.save(folder)

    def push_to_hub(self, repo_id: str, **how: Any) -> str:
        """Upload this adapter to a hub; return the address of the commit.

        This call alone reaches the hub; nothing else in hivelearn sends an adapter there.

        Args:
            repo_id: owner/name; made if it is not there.
            how: token, private, revision, commit_message; see
                :func:`hivelearn.patch.hub.push`.

        Raises:
            HubError: the hub refuses, or cannot be reached.
        """
        return hub.push(self.published().save, repo_id, **how)

    def published(self) -> Self:
        """Return this adapter without the path on this machine that its base may be named by."""
        if on_a_hub(self.origin.model):
            return self
        return replace(self, origin=Origin(self.origin.task))

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, revision: str | None = None, token: str | None = None
    ) -> Self:
        """Read an adapter from a folder, or fetch it from a hub if there is no such folder.

        Args:
            name: a folder, or the id of a repository: owner/name.
            revision: branch, tag or commit of the repository.
            token: of the hub; by default that of `hf auth login`.

        Raises:
            AdapterError: it is no plain LoRA.
            HubError: there is none, or the hub cannot be reached.
        """
        folder = Path(name)
        return cls.load(folder if folder.is_dir() else hub.fetch(str(name), revision, token))

    def _saved(self, folder: str | Path) -> Path:
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        with (
            Replacement(path / WEIGHTS_FILE) as weights,
            Replacement(path / CONFIG_FILE) as config,
        ):
            weights.file.write(self.to_bytes())
            config.file.write(peft_config.config_text(self.config()).encode())
            replace_all((weights, config))
        return path

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a PEFT folder, and warn if it changes nothing.

        See :func:`hivelearn.patch.peft_folder.load`.
        """
        factors, rank, alpha, origin = peft_folder.load(Path(folder))
        found = cls(factors, rank, alpha, origin=origin)
        if not found.acts:
            warnings.warn(
                f"the adapter in {printable(str(folder))} changes nothing: every B is zero. It was "
                "saved before it was trained, or its weights were not found when it was opened.",
                stacklevel=2,
            )
        return found

    @classmethod
    def from_model(cls, model: "Module | Any", adapter_name: str | None = None) -> Self:
        """Take the LoRA out of an open PEFT model. See :mod:`hivelearn.patch.open_model`."""
        factors, rank, alpha, origin = open_model.from_model(model, adapter_name)
        return cls(factors, rank, alpha, origin=origin)
