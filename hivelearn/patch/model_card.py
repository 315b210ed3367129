"""The README.md of a folder with an adapter: what it is, for people and for a hub's search.

Written anew with the adapter, as long as its first comment stands there; a README of somebody
else is never touched. Nothing of this machine goes in: no path, no name of a user, no date.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hivelearn.files import write_whole
from hivelearn.patch.origin import Origin

CARD_FILE: Final = "README.md"
_OURS: Final = "<!-- hivelearn writes this file anew; delete this line to keep what you write. -->"
_HEAD_BYTES: Final = 4_096  # of a README that are looked at for the line above
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")
_PIPELINES: Final = {"CAUSAL_LM": "text-generation", "SEQ_CLS": "text-classification"}
# What a hub takes as `license`; others are named beside it.
_LICENCES: Final = frozenset(
    "agpl-3.0 apache-2.0 bsd-2-clause bsd-3-clause cc-by-4.0 cc-by-nc-4.0 cc-by-sa-4.0 cc0-1.0 "
    "gpl-3.0 lgpl-3.0 mit mpl-2.0 unlicense".split()
)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What is told of an adapter.

    Attributes:
        title: the first line.
        origin: its task and model.
        licence: SPDX expression, empty if unknown.
        tags: for search, beside "lora" and "hivelearn".
        facts: what stands in the table, name to value.
        parts: what it was made from, one row each: (name, weight).
    """

    title: str
    origin: Origin
    facts: Mapping[str, str]
    licence: str = ""
    tags: Sequence[str] = ()
    parts: Sequence[tuple[str, str]] = field(default=())

    def __str__(self) -> str:
        """Return the file's text."""
        lines = ["---", *self._front(), "---", _OURS, "", f"# {_plain(self.title)}", ""]
        lines += ["| | |", "|---|---|"]
        lines += [f"| {_plain(name)} | {_plain(value)} |" for name, value in self.facts.items()]
        if self.parts:
            lines += ["", "| source | weight |", "|---|---|"]
            lines += [f"| {_plain(name)} | {weight} |" for name, weight in self.parts]
        return "\n".join((*lines, "", *_USE, ""))

    def _front(self) -> list[str]:
        """Return the lines of metadata; JSON's strings are YAML's."""
        lines = []
        if on_a_hub(self.origin.model):
            lines.append(f"base_model: {json.dumps(self.origin.model)}")
        lines.append("library_name: peft")
        if self.origin.task in _PIPELINES:
            lines.append(f"pipeline_tag: {_PIPELINES[self.origin.task or '']}")
        if self.licence.lower() in _LICENCES:
            lines.append(f"license: {self.licence.lower()}")
        elif self.licence:
            lines += ["license: other", f"license_name: {json.dumps(self.licence)}"]
        return [
            *lines,
            "tags:",
            *(f"- {json.dumps(tag)}" for tag in ("lora", "hivelearn", *self.tags)),
        ]


_USE: Final = (
    "```python",
    "from peft import PeftModel",
    "",
    'model = PeftModel.from_pretrained(base_model, "this folder")',
    "```",
)


def write_card(folder: Path, card: ModelCard) -> None:
    """Write the card into ``folder``, unless somebody else's README is there.

    Raises:
        DiskError: it cannot be written.
    """
    path = folder / CARD_FILE
    if is_ours(path):
        write_whole(path, str(card).encode())


def is_ours(readme: Path) -> bool:
    """Return whether there is no README, or one that nobody has changed since it was written."""
    try:
        with readme.open("rb") as file:
            return _OURS.encode() in file.read(_HEAD_BYTES)
    except FileNotFoundError:
        return not readme.is_symlink()
    except OSError:  # a folder, or not for us to read
        return False


def on_a_hub(model: str | None) -> bool:
    """Return whether a base model's name can be a hub's id, and is no path of this machine."""
    return model is not None and _HUB_ID.fullmatch(model) is not None and not Path(model).exists()


def _plain(text: str) -> str:
    """Return text that ends no table row and begins no markup."""
    return re.sub(r"[|\\`<>\[\]*\r\n]", " ", text)[:500]
