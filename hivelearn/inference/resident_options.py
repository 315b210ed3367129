"""What may be chosen of the engine that keeps its model in memory. Loads no torch."""

from dataclasses import dataclass

from hivelearn.bounds import TEXT, check_record


@dataclass(frozen=True, slots=True)
class ResidentOptions:
    """Where the model lives and in which type."""

    device: str = "auto"  # CUDA, MPS or CPU
    dtype: str = "auto"  # by device and by what the machine has kernels for

    def __post_init__(self) -> None:
        """Refuse what is no text; whether such a device is here shows when it is opened."""
        check_record({"device": TEXT, "dtype": TEXT}, self)
