"""What the body promises about the payload, checkable before and after it arrives."""

from dataclasses import dataclass
from typing import Final, Protocol, Self

from hivelearn import codec
from hivelearn.codec import fixed, real
from hivelearn.errors import PeerError
from hivelearn.patch import safetensors_header as header
from hivelearn.patch.limits import ALPHA_MAX, PATCH_RANK_MAX

ADAPTER_TARGETS_MAX: Final = 64
ADAPTER_LAYERS_MAX: Final = 2_048


class SpecError(PeerError):
    """The adapter section is malformed, or the payload is not what it promised."""

    fault = "author"
    code = "body.adapter"

    def __init__(self, what: str) -> None:
        super().__init__(f"adapter section: {what}")


class _Adapter(Protocol):
    """The part of ``Adapter`` that is promised (that class needs torch, this file does not)."""

    @property
    def rank(self) -> int: ...
    @property
    def alpha(self) -> float: ...
    @property
    def dtype(self) -> str: ...
    @property
    def targets(self) -> tuple[str, ...]: ...
    @property
    def layers(self) -> tuple[int, ...]: ...


@dataclass(frozen=True, slots=True)
class AdapterSpec:
    """Rank, scale, type, target names and layer numbers of the factors."""

    rank: int
    alpha: float
    dtype: str  # F32, BF16, F16
    targets: tuple[str, ...]  # last parts of module names, sorted
    layers: tuple[int, ...]  # first number in each module name, sorted
    shared_a: bool  # A started from the stream that everybody can compute

    @classmethod
    def of(cls, adapter: _Adapter, *, shared_a: bool) -> Self:
        """Describe ``adapter``, whose alpha is a multiple of 1e-6."""
        promised = (adapter.rank, adapter.alpha, adapter.dtype, adapter.targets, adapter.layers)
        return cls(*promised, shared_a)

    def check(self, adapter: _Adapter) -> None:
        """Raise SpecError unless ``adapter`` is what this section promises."""
        promised = (self.rank, self.dtype, self.targets, self.layers)
        if promised != (adapter.rank, adapter.dtype, adapter.targets, adapter.layers):
            raise SpecError("the payload is not the adapter that the body promised")

    def to_value(self) -> dict[int, codec.Value]:
        """Return the map that is signed."""
        targets: list[codec.Value] = list(self.targets)
        layers: list[codec.Value] = list(self.layers)
        alpha = fixed(self.alpha)
        return {1: self.rank, 2: alpha, 3: self.dtype, 4: targets, 5: layers, 6: self.shared_a}

    @classmethod
    def from_value(cls, value: object) -> Self:
        """Return the section in ``value`` or raise SpecError."""
        match value:
            case {
                1: int(rank),
                2: int(alpha),
                3: str(dtype),
                4: [*targets],
                5: [*layers],
                6: bool(shared),
                **rest,
            } if codec.ignorable(rest):
                pass
            case _:
                raise SpecError("a field is missing, unknown or of the wrong type")
        if type(rank) is not int or not 0 < rank <= PATCH_RANK_MAX:
            raise SpecError(f"rank {rank} is not in 1 … {PATCH_RANK_MAX}")
        if type(alpha) is not int or not 0 < alpha <= fixed(ALPHA_MAX):
            raise SpecError(f"an alpha of {alpha} millionths is out of range")
        if dtype not in header.ITEM_BYTES:
            raise SpecError(f"dtype {dtype[:20]!r} is not one of {', '.join(header.ITEM_BYTES)}")
        if not _sorted_unique(targets, str) or not 0 < len(targets) <= ADAPTER_TARGETS_MAX:
            raise SpecError("its targets are not sorted, not different, or too many")
        if not all(header.allowed(target) for target in targets):
            raise SpecError("a target that no LoRA may touch")
        if not _sorted_unique(layers, int) or len(layers) > ADAPTER_LAYERS_MAX:
            raise SpecError("its layers are not sorted, not different, or too many")
        return cls(rank, real(alpha), dtype, tuple(targets), tuple(layers), shared)


def _sorted_unique(items: list[object], kind: type) -> bool:
    if not all(type(item) is kind for item in items):
        return False
    return items == sorted(set(items))  # type: ignore[type-var]
