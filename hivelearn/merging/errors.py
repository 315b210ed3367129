"""What a merge refuses: these adapters, or these settings."""

from hivelearn.errors import UsageError


class MergeError(UsageError):
    """These adapters, or these settings, cannot be merged."""

    remedy = "Leave out the adapter or setting that the message names, then merge again."
