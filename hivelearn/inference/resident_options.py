"""What may be chosen of the engine that keeps its model in memory. Loads no torch."""

from dataclasses import dataclass

from hivelearn.bounds import FLAG, TEXT, check_record


@dataclass(frozen=True, slots=True)
class ResidentOptions:
    """Where the model lives, in which type, and whether its folder's code may run."""

    device: str = "auto"  # CUDA, MPS or CPU
    dtype: str = "auto"  # by device and by what the machine has kernels for
    trust_remote_code: bool = False  # the user's own word: that code runs with the user's rights

    def __post_init__(self) -> None:
        """Refuse what is of no use; whether such a device is here shows when it is opened."""
        check_record({"device": TEXT, "dtype": TEXT, "trust_remote_code": FLAG}, self)
