"""Where a model's files lie: a path, a GGUF file, a hub id, or the name of one that is at hand.

Every way ends in a folder; nothing here needs torch unless a GGUF is opened for the
first time, so that a node's status can be read without loading a model.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from hivelearn.inference import gguf_model, smollm2
from hivelearn.inference.errors import NoModelError
from hivelearn.inference.gguf_conversion import SUFFIX

NANO: Final = Path(__file__).parent / "nano" / "model"
NANO_NAME: Final = "nano"
_HUB_FILES: Final = (
    "*.safetensors *.json *.jinja *.txt *.model *.md *.py".split()
)  # code is not run


def _unheard(_told: str) -> None:
    pass


def resolve_model(source: "str | Path | None", tell: Callable[[str], None] = _unheard) -> Path:
    """Return the folder of a model; what must be fetched or converted is so only once.

    Args:
        source: a folder, a GGUF file, "nano", "smollm2" (a folder of that name here comes
            first), a hub id, or None: the nano model.
        tell: hears what takes long.

    Raises:
        NoModelError: none of these, or not to be had here.
        DiskError: no room for a converted model.
    """
    if source is None:
        return NANO
    path, text = Path(source).expanduser(), str(source)
    if path.is_dir():
        return _checked(path)
    if path.suffix.lower() == SUFFIX and path.is_file():
        return gguf_model.converted(path, tell)
    if text == NANO_NAME:
        return NANO
    if text == smollm2.NAME:
        return smollm2.folder(tell)
    if path.exists() or text.count("/") > 1 or text.startswith((".", "/", "~")) or "\\" in text:
        raise NoModelError(f"{text!r} is not a folder")
    return _from_hub(text)


def _checked(folder: Path) -> Path:
    found = sorted(folder.glob(f"*{SUFFIX}"))
    if found and not (folder / "config.json").exists():
        raise NoModelError(f"{folder} holds a GGUF", remedy=f"Name the file itself: {found[0]}")
    return folder


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise NoModelError(f"{name!r} is no folder here, and as a hub id: {reason}") from error
