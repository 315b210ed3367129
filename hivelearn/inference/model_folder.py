"""Where a model's files lie: a path, a hub id, or nothing for the embedded nano model.

One code path for all three ends in a folder; nothing here needs torch, so that
a node's status can be read without loading a model.
"""

from pathlib import Path
from typing import Final

from hivelearn.errors import UsageError

NANO: Final = Path(__file__).parent / "nano" / "model"
_HUB_FILES: Final = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model", "*.md"]


class NoModelError(UsageError):
    """The path or hub id leads to no model that can be opened."""

    remedy = "Give the folder of a causal language model, a hub id, or nothing for the nano model."


def resolve_model(source: "str | Path | None") -> Path:
    """Return the folder of a model; a hub id is fetched into the hub's own cache.

    Raises:
        NoModelError: neither a folder here nor a hub id that can be reached.
    """
    if source is None:
        return NANO
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    text = str(source)
    if folder.exists() or text.count("/") > 1 or text.startswith((".", "/", "~")) or "\\" in text:
        raise NoModelError(f"{text!r} is not a folder")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(text, allow_patterns=_HUB_FILES))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise NoModelError(f"{text!r} is no folder here, and as a hub id: {reason}") from error
