"""The journal as its owner sees it: list, forget, import, export, a datasets.Dataset."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hivelearn.files import DiskError
from hivelearn.node.context import NodeContext
from hivelearn.node.events import CorrectionsForgotten, CorrectionsImported
from hivelearn.store.correction import Correction
from hivelearn.store.journal import Count, Forgotten
from hivelearn.store.jsonl import Defaults

if TYPE_CHECKING:
    from datasets import Dataset


class Corrections:
    """What experts said to this node. Nothing here ever leaves the device."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context

    def __repr__(self) -> str:
        """Count by domain."""
        rows = [f"{d}: {c.training}+{c.holdout} held out" for d, c in self.counts().items()]
        return f"Corrections({'; '.join(rows) or 'none yet'})"

    def __iter__(self) -> Iterator[Correction]:
        """Go through all that stand, oldest first."""
        return iter(self.list())

    def __len__(self) -> int:
        """Count all that stand."""
        return len(self.list())

    def list(
        self, domain: str | None = None, *, holdout: bool | None = None
    ) -> tuple[Correction, ...]:
        """Return corrections, oldest first; the last word on each question."""
        return self._context.journal.list(domain, holdout=holdout)

    def counts(self) -> dict[str, Count]:
        """Return per domain how many may be trained on and how many judge."""
        return self._context.journal.counts()

    def forget(self, correction: str | None = None, *, domain: str | None = None) -> Forgotten:
        """Delete one correction by id, or a whole domain's; no file keeps their text.

        What a model has learned from them stays learned: train again for that.
        """
        with self._context.store.writing("forget corrections"):
            done = self._context.journal.forget(correction=correction, domain=domain)
        self._context.losses.clear()
        self._context.events.publish(CorrectionsForgotten(done.corrections))
        return done

    def import_jsonl(self, path: str | Path, domain: str | None = None) -> int:
        """Store every line of a JSONL file, or none; return how many were new.

        A line is ``{"prompt": …, "right": …}`` or ``{"messages": […], "right": …}``,
        with optional ``wrong``, ``domain`` and ``subject``.

        Raises:
            ImportLineError: the first bad line, by number; nothing was stored.
            DiskError: the disk under the home refuses; nothing was stored.
        """
        journal = self._context.journal
        try:
            with self._context.store.writing("import corrections"):
                now_s = journal.now(self._context.clock(), domain)
                defaults = Defaults(base=self._context.base, created_s=now_s, domain=domain)
                new = journal.import_jsonl(Path(path), defaults)
        except DiskError as error:
            raise type(error)(error.path, f"{error.said}; nothing of {path} was stored") from error
        self._context.events.publish(CorrectionsImported(new))
        return new

    def export_jsonl(self, path: str | Path) -> int:
        """Write all corrections to a file that `import_jsonl` reads; return how many."""
        return self._context.journal.export_jsonl(Path(path))

    def to_dataset(self, domain: str | None = None, *, holdout: bool | None = None) -> "Dataset":
        """Return the corrections as a ``datasets.Dataset``."""
        return self._context.journal.to_dataset(domain, holdout=holdout)
