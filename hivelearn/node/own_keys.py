"""The node's keys: made at first need, and never a second time in silence.

Friends vouch for a key. If its folder is gone, a new one would be a stranger under the
old roof: its patches would be refused everywhere, and nobody would know why. So the home
notes beside the folder whose keys it had, and refuses to go on as somebody else.
"""

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from hivelearn import identity
from hivelearn.files import DiskError, write_whole
from hivelearn.identity import Identity, IdentityError, full_name

if TYPE_CHECKING:
    from hivelearn.store.store import Store

FOLDER: Final = "identity"
NOTE: Final = "author"  # holds the full public name, to be read by people too


def find(store: "Store", now_s: float) -> Identity | None:
    """Return the keys of a home, or None if it never had any; makes nothing.

    Raises:
        IdentityError: they are damaged, or were here and are gone.
    """
    folder = store.home.path / FOLDER
    if identity.is_in(folder):
        return identity.open_in(folder, now_s)
    if name := _noted(store):
        raise IdentityError(
            f"the keys of {name} are gone from {folder}",
            remedy=f"Restore {folder} from a backup. Without one, go on in a new home "
            "(HIVELEARN_HOME): `hivelearn corrections export` and `import` take along what you "
            "said; others must vouch for the new key.",
        )
    return None


def open_or_make(store: "Store", now_s: float) -> Identity:
    """Return the keys of a home; the first time they are made.

    Raises:
        IdentityError: they are damaged, were here and are gone, or cannot be written.
    """
    found = find(store, now_s)
    if found is None:
        store.home.make()
        found = identity.open_in(store.home.path / FOLDER, now_s)
    note, name = store.home.path / NOTE, full_name(found.author)
    if _noted(store) != name:
        with suppress(DiskError):  # a read-only home knows them as well
            write_whole(note, f"{name}\n".encode())
    return found


def _noted(store: "Store") -> str:
    """Return whose keys were here, or nothing."""
    with suppress(OSError, UnicodeError):
        if name := (store.home.path / NOTE).read_text(encoding="utf-8").strip():
            return name
    own = store.shelf.list(state="own")  # a home that has lost the note, too
    return full_name(own[-1].author) if own else ""
