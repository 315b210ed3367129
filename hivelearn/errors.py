"""Three kinds of blame: the caller's, another node's, this machine's.

Every error of hivelearn says whose fault it is (its class), what happened (its
message) and what to do next (``remedy``). A failed ``assert`` is a bug of ours
and never judges outside data. Rooms define one subclass per reason that
somebody would handle differently; callers read fields, not text.
"""

from typing import ClassVar, Literal

from hivelearn.printable import message

Fault = Literal["author", "relay", "nobody"]


class HivelearnError(Exception):
    """Root of all errors raised on purpose.

    Attributes:
        remedy: one sentence that tells the reader what to do next.
        exit_code: what the command line returns for it.
    """

    remedy: str = "Run `hivelearn doctor` and look at its first line that says problem."
    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, remedy: str | None = None) -> None:
        super().__init__(message(what))  # names in it may come from anybody's file
        if remedy is not None:
            self.remedy = remedy

    def __str__(self) -> str:
        """What happened, then on a second line what to do."""
        return f"{self.what}\n→ {self.remedy}"

    @property
    def what(self) -> str:
        """What happened, without the remedy."""
        return str(self.args[0])

    def __reduce__(self) -> tuple[object, ...]:
        """Survive a trip between processes even when a subclass changed the signature."""
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(
    kind: type[HivelearnError], args: tuple[object, ...], fields: dict[str, object]
) -> HivelearnError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(fields)
    return error


class UsageError(HivelearnError):
    """You: fix the call, the file or the configuration."""

    exit_code = 2


class PeerError(HivelearnError):
    """Another node sent something that cannot be used.

    Attributes:
        fault: "author" (signed a bad delta), "relay" (delivered bytes that do
            not verify) or "nobody" (it merely came early or is of a later
            version). Only author faults touch reputation.
        code: short stable name of the rule that refused, such as ``policy.base``.
    """

    exit_code = 3
    fault: Fault = "relay"
    code: str = "peer"
    remedy = "Nothing to do here: the offer was refused and nothing changed."

    def __init__(
        self,
        what: str,
        *,
        remedy: str | None = None,
        fault: Fault | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(what, remedy=remedy)
        if fault is not None:
            self.fault = fault
        if code is not None:
            self.code = code


class DeviceError(HivelearnError):
    """This machine: free memory or disk, plug it in, let it cool down."""

    exit_code = 4
