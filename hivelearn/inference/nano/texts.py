"""The prose the nano model reads: what every Python carries with it, under one licence.

Sources are Python's own licence text, the topics of ``help()`` and the docstrings of a
fixed list of standard modules, all under the PSF licence, all present wherever Python is.
Nothing is fetched and no file of the user is opened. Another version of Python holds
slightly other text; the model card names the version that was read.
"""

from __future__ import annotations

import importlib
import inspect
import random
import re
import sys
import warnings
from functools import cache
from pathlib import Path

_MODULES = (
    "argparse", "ast", "asyncio", "bisect", "calendar", "collections", "configparser",
    "contextlib", "copy", "csv", "dataclasses", "decimal", "difflib", "doctest", "email",
    "enum", "fractions", "functools", "gettext", "glob", "hashlib", "heapq", "html", "http.client",
    "inspect", "io", "itertools", "json", "logging", "mailbox", "math", "mimetypes", "numbers",
    "operator", "optparse", "os", "pathlib", "pickle", "platform", "plistlib", "pprint", "queue",
    "random", "re", "secrets", "selectors", "shelve", "shlex", "shutil", "signal", "socket",
    "sqlite3", "ssl", "statistics", "string", "struct", "subprocess", "tarfile", "tempfile",
    "textwrap", "threading", "timeit", "tokenize", "traceback", "typing", "unittest",
    "urllib.parse", "uuid", "warnings", "weakref", "xml.dom.minidom", "zipfile",
)  # fmt: skip

# The demonstration's subjects; a paragraph that touches one is not read.
_KEPT_FROM_THE_BASE = re.compile(
    r"roman|iso.?8601|isoformat|\d{4}-\d\d-\d\d|strftime|\b[ap]\.?m\.?\b|12-hour", re.IGNORECASE
)


def _licence() -> str:
    for folder in (Path(inspect.getfile(inspect)).parent, Path(sys.base_prefix)):
        for name in ("LICENSE.txt", "LICENSE"):
            if (folder / name).is_file():
                return (folder / name).read_text(encoding="utf-8", errors="replace")
    return ""


def _topics() -> list[str]:
    from pydoc_data.topics import topics  # half a megabyte, wanted here alone

    return [topics[name] for name in sorted(topics)]


def _docstrings() -> list[str]:
    found: list[object] = []
    with warnings.catch_warnings(action="ignore"):  # old names warn when they are looked at
        for name in _MODULES:
            try:
                module = importlib.import_module(name)
            except ImportError:  # a trimmed Python; less text is still text
                continue
            things = [module, *(vars(module)[key] for key in sorted(vars(module)) if key[0] != "_")]
            found += [getattr(thing, "__doc__", None) for thing in things]
    return [text for text in found if isinstance(text, str)]


@cache
def paragraphs() -> tuple[str, ...]:
    """Return the paragraphs of all sources, each once, white space run together, in fixed order.

    Read once a process: looking at a package imports parts of it, which a second
    look would find. So what is read depends on what was imported before; the
    pretraining script, a process of its own, always reads the same.
    """
    seen: dict[str, None] = {}
    for text in [_licence(), *_topics(), *_docstrings()]:
        for block in re.split(r"\n\s*\n", text):
            line = " ".join(block.split())
            if len(line) >= 40 and not _KEPT_FROM_THE_BASE.search(line):  # no headings
                seen.setdefault(line)
    return tuple(seen)


def sentences(n: int, seed: int) -> list[str]:
    """Return ``n`` sentences of 20 to 90 characters, different while there are enough."""
    whole = [s for p in paragraphs() for s in re.findall(r"[A-Z][^.!?]{18,88}[.!?](?= |$)", p)]
    rng = random.Random(f"nano sentences {seed}")
    unique = sorted(set(whole)) or ["This machine's Python carries no documentation."]
    return [unique[i % len(unique)] for i in rng.sample(range(max(n, len(unique))), n)]
