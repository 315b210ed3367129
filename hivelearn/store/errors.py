"""The ways a home or a correction can be refused, one class for each."""

from pathlib import Path

from hivelearn.errors import DeviceError, UsageError
from hivelearn.files import DiskError


class HomeError(DiskError):
    """Something is wrong with the home itself, not with one write."""


class HomeDamagedError(HomeError):
    """The database file is not what this library wrote."""

    remedy = (
        "Copy the home away first; then restore hive.db from a backup, or go on in a new home "
        "(--home or HIVELEARN_HOME)."
    )


class UnsafeHomeError(HomeError):
    """Others can read or write a home that this user does not own."""

    remedy = "Choose a directory of your own with HIVELEARN_HOME, or have its owner set mode 0700."


class NoLocksError(HomeError):
    """The file system under the home cannot lock files, so two writers could spoil it."""

    remedy = (
        "Choose a directory on a local disk as the home, with HIVELEARN_HOME or --home; "
        "on this disk, another program that has hive.db open may also be in the way."
    )

    def __init__(self, path: Path, said: str) -> None:
        super().__init__(path, f"files cannot be locked here ({said})")


class MissingBlobError(HomeError):
    """A blob that some row names is not on the disk."""

    remedy = "Check the disk; `hivelearn doctor` tells which adapters are lost and what to do."


class DamagedBlobError(MissingBlobError):
    """A blob is there, but the disk has changed it: as good as missing."""


class LostAdapterError(HomeError):
    """An adapter that should serve is not whole on this disk; the others go on."""

    def __init__(self, error: DiskError, domain: str, generation: int, *, own: bool) -> None:
        self.domain, self.generation, self.own = domain, generation, own
        what = f"the {'specialist' if own else 'expert'} in {domain!r}, generation {generation}"
        super().__init__(error.path, f"{what}, is lost: {error.said}")
        self.remedy = f"`hivelearn rollback {domain}` serves what was before" + (
            f", `hivelearn train {domain}` makes it anew." if own else "."
        )


class LossWarning(UserWarning):
    """A home has lost writes that had been acknowledged; it goes on with what is left."""


class NoHomeError(UsageError):
    """What is to be read does not exist."""

    remedy = "Check the path (--home, HIVELEARN_HOME); the first `hivelearn correct` makes a home."

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"there is no home at {path}")


class HomePathError(UsageError):
    """What was given can be no path."""

    remedy = "Give the path of a directory, without control characters; `.` is the current one."


class NotAHomeError(UsageError):
    """The path is a file, or a directory that holds other things."""

    remedy = "Give an empty or new directory as the home (argument or HIVELEARN_HOME)."

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        super().__init__(f"{path} is no hivelearn home: {what}")


class LaterVersionError(UsageError):
    """A later hivelearn has written this home."""

    remedy = "Update hivelearn, or use another home: an older version must not write here."

    def __init__(self, path: Path, found: int, known: int) -> None:
        self.path, self.found, self.known = path, found, known
        super().__init__(f"{path} is of version {found}; this hivelearn knows up to {known}")


class WriterBusyError(DeviceError):
    """Another process (or another node object of this one) writes to the home."""

    def __init__(self, path: Path, pid: int | None, doing: str, since_s: float | None) -> None:
        self.path, self.pid, self.doing, self.since_s = path, pid, doing, since_s
        who = "another process" if pid is None else f"process {pid}"
        super().__init__(
            f"{who} is writing to {path}: {doing or 'it did not say what'}",
            remedy=f"Wait until {who} is done, or stop it. Asking, correcting and "
            "`hivelearn status` work meanwhile.",
        )


class NotWritingError(UsageError):
    """A write outside ``with store.writing(...)``."""

    remedy = 'Wrap the call: `with store.writing("what you do"): ...`.'


class WrongStateError(UsageError):
    """A patch cannot go from where it is to where it was sent."""

    remedy = "Nothing was changed. Judge what rests on the shelf again: `hivelearn adopt DOMAIN`."


class UnknownPatchError(UsageError):
    """No such patch on the shelf."""

    remedy = "Take an id from node.merge(domain).patches or from answer.route.experts."


class NothingToRollBackError(UsageError):
    """Every commit of this domain is undone already."""

    remedy = "Nothing to do: the domain is served by the base model alone."


class StaleGenerationError(UsageError):
    """Somebody committed in between; the judgement is about an older state."""

    remedy = "Run it again: it judges on what serves now."


class ForgetWhatError(UsageError):
    """Neither a correction nor a domain to forget, or both."""

    remedy = (
        'Give one: node.corrections.forget(correction.id), or forget(domain="roman"); '
        "`hivelearn corrections forget ID`, or `--domain roman`."
    )


class UnknownCorrectionError(UsageError):
    """No correction has this id, or more than one begins with it."""

    remedy = "Take an id from `hivelearn corrections list`; eight digits or more will do."


class ExportPathError(UsageError):
    """Corrections cannot be written to something that is no path."""

    remedy = "Give the path of a file."


class CorrectionError(UsageError):
    """A correction that cannot be learned from. Subclasses say why."""

    remedy = "Fix the correction and give it again; nothing was stored."


class EmptyCorrectionError(CorrectionError):
    """No question, or no right answer."""

    remedy = "Give a question and the right answer, both with visible text."


class CorrectionTooLargeError(CorrectionError):
    """More text than one correction may hold."""

    remedy = "Shorten it: corrections teach best when they are short. Nothing was stored."


class BinaryTextError(CorrectionError):
    """Control bytes, lone surrogates or raw bytes where text belongs."""

    remedy = "Give decoded text (str, UTF-8). Nothing was stored."


class MalformedMessagesError(CorrectionError):
    """Not a conversation that ends with the user's question."""

    remedy = 'Give text, or [{"role": "user", "content": "..."}] ending with the user.'


class DomainNameError(CorrectionError):
    """A domain that cannot be a topic name."""

    remedy = "Use 1 to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit."


class ImportLineError(CorrectionError):
    """A row of a file cannot be imported, so none was."""

    def __init__(
        self, path: Path, line: int, why: str, wanted: str, *, unit: str = "line", more: int = 0
    ) -> None:
        self.path, self.line, self.why, self.more = path, line, why, more
        what = f"{path}, {unit} {line}: {why}"
        if more:
            what += f"; and {more} more {unit}{'' if more == 1 else 's'}"
        super().__init__(what, remedy=f"Nothing of it was stored. {wanted}")
