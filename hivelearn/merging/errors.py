"""What a merge refuses: these adapters, or these settings."""

from hivelearn.errors import UsageError


class MergeError(UsageError):
    """These adapters, or these settings, cannot be merged."""

    remedy = "Leave out the adapter or setting that the message names, then merge again."

    def __init__(self, what: str, *, remedy: str | None = None, delta: int | None = None) -> None:
        """Say what is wrong.

        Args:
            what: as everywhere.
            remedy: as everywhere.
            delta: place of the guilty delta among those that an operator was given; who
                knows its name exchanges ``delta <place>`` in ``what`` for it.
        """
        super().__init__(what, remedy=remedy)
        self.delta = delta
