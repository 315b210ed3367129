"""Which tokens end a turn and which one fills up, out of a folder that may say anything.

Of a folder's generation settings only these ids are taken. The rest (beams, several
sequences, penalties, caches, lengths, temperatures) are somebody's experiments:
here the caller says how tokens are chosen, the router and the gate compare losses
of the model as it is, and a streamed answer is the answer. What was set aside is
told, never hidden (`hivelearn doctor`). Why: docs/adr/0015.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_TAKEN: Final = frozenset(
    "eos_token_id bos_token_id pad_token_id transformers_version _from_model_config".split()
)
_USUAL: Final = {"use_cache": True}


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """The ids that generation needs, each one a row of the embedding."""

    ends: tuple[int, ...]  # end a turn, the preferred first; may be empty
    pad: int  # fills up; masked, so any row will do
    remarks: tuple[str, ...]  # what was not taken as the folder has it


def special_tokens(
    settings: Mapping[str, Any], config: Any, tokenizer: Any, rows: int
) -> SpecialTokens:
    """Return the special tokens of a model.

    Args:
        settings: of its generation_config.json.
        config: its transformers configuration, of the text model.
        tokenizer: its tokenizer.
        rows: of its embedding.
    """
    remarks = []
    if aside := sorted(name for name, value in settings.items() if _matters(name, value)):
        remarks.append(f"generation settings of the folder are set aside: {', '.join(aside)}")
    stated: list[int] = []
    for told in (
        settings.get("eos_token_id"),
        getattr(config, "eos_token_id", None),
        tokenizer.eos_token_id,
    ):
        stated = _ids(told)
        if stated:
            break
    ends = tuple(token for token in stated if token < rows)
    if len(ends) < len(stated):
        beyond = ", ".join(str(token) for token in stated if token >= rows)
        remarks.append(f"the end token {beyond} is beyond the {rows} rows of the embedding")
    pad = tokenizer.pad_token_id
    if pad is not None and not 0 <= pad < rows:
        remarks.append(
            f"the pad token {pad} is beyond the {rows} rows of the embedding; another one fills up"
        )
        pad = None
    if pad is None:
        pad = ends[0] if ends else 0
    return SpecialTokens(ends, pad, tuple(remarks))


def _matters(name: str, value: object) -> bool:
    """Return whether a setting would change anything; save_pretrained writes some that do not."""
    return name not in _TAKEN and value not in (None, _USUAL.get(name, False))


def _ids(told: object) -> list[int]:
    """Return the token ids in what a folder says: a number, a list, nothing, or nonsense."""
    listed = told if isinstance(told, list | tuple) else [told]
    return [token for token in listed if type(token) is int and token >= 0]
