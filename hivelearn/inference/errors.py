"""The one reason that every way to open a model shares: there is none that can be opened."""

from hivelearn.errors import UsageError


class NoModelError(UsageError):
    """The path, name or hub id leads to no model that can be opened."""

    remedy = (
        "Give the folder of a causal language model, a GGUF file, a hub id, 'smollm2', or nothing "
        "for the nano model."
    )
