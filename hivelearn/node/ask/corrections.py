"""The journal as its owner sees it: list, forget, import, export, a datasets.Dataset."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hivelearn.errors import HivelearnError
from hivelearn.files import DiskError
from hivelearn.node import domains
from hivelearn.node.context import NodeContext
from hivelearn.node.events import CorrectionsForgotten, CorrectionsImported
from hivelearn.store.alike import AlikeReport, alike
from hivelearn.store.correction import Correction
from hivelearn.store.imports import Defaults, ImportReport
from hivelearn.store.journal import Count, Forgotten

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True, slots=True)
class ForgetReport:
    """What a forgetting took away, and what it cannot take back."""

    corrections: int  # that are gone, superseded answers among them
    bytes_gone: bool  # False: another process reads the old state; the next writer finishes
    trainings: tuple[str, ...] = ()  # domains whose paused training had learnt from them
    patches: tuple[str, ...] = ()  # own patches in their domains, hex ids
    offered: tuple[str, ...] = ()  # of these, what others may have fetched

    def __str__(self) -> str:
        """Return what is gone, then what is not."""
        lines = [f"forgotten: {_counted(self.corrections, 'correction')}"]
        if not self.bytes_gone:
            lines.append(
                "another process still reads the old file; the next one to write removes the rest"
            )
        lines += [f"{name}: its paused training is given up" for name in self.trainings]
        if self.patches:
            few = ", ".join(each[:8] for each in self.patches)
            lines.append(
                f"what was trained on them stays learnt ({_counted(len(self.patches), 'patch')}: "
                f"{few}): train again for a patch without them"
            )
        if self.offered:
            count = _counted(len(self.offered), "patch")
            lines.append(f"{count} of these may be with others, and cannot be called back")
        return "\n".join(lines)


def _counted(count: int, what: str) -> str:
    plural = f"{what}es" if what.endswith("ch") else f"{what}s"
    return f"{count} {what if count == 1 else plural}"


class Corrections:
    """A node's corrections. Writes open the home's writer lock by themselves."""

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
        """Return corrections, oldest first; the last word on each question.

        Args:
            domain: only these; None means all.
            holdout: True for those that judge, False for those to train on. One question
                in five is held out, but never the only one of its domain.
        """
        return self._context.journal.list(domain, holdout=holdout)

    def find(self, name: str) -> Correction:
        """Return the correction whose id begins with ``name``, eight digits or more."""
        return self._context.journal.find(name)

    def counts(self) -> dict[str, Count]:
        """Return per domain how many may be trained on and how many judge."""
        return self._context.journal.counts()

    def alike(self, domain: str | None = None) -> AlikeReport:
        """Return which corrections contradict each other or say the same twice.

        Found is the same question with other marks at its end. With other capitals or spaces
        it is one question anyway, and the last word on it counts.
        """
        return alike(self.list(domain))

    def forget(self, correction: str | None = None, *, domain: str | None = None) -> ForgetReport:
        """Delete one correction by id, or a whole domain's; no file keeps their text.

        Superseded answers to the same question go with it, and a paused training that had
        learnt from it. What a model has learned from them stays learned: the report says
        which patches that may be. Train again for one without them.

        Raises:
            UnknownCorrectionError: no correction has this id.
            UsageError: there are no corrections of this domain.
        """
        context = self._context
        domains.check_corrected(context, domain)
        with context.store.writing("forget corrections"):
            done = context.journal.forget(correction=correction, domain=domain)
            trainings = _give_up_trainings(context, done)
        context.measured.clear()
        context.events.publish(CorrectionsForgotten(done.corrections))
        own = context.shelf.list(state="own", base=context.base)  # parts of rounds, too
        patches = [entry.id for entry in own if entry.domain in done.domains]
        offered = [patch for patch in patches if context.offers.anywhere(patch)]
        return ForgetReport(
            corrections=done.corrections,
            bytes_gone=done.bytes_gone,
            trainings=trainings,
            patches=tuple(each.hex() for each in patches),
            offered=tuple(each.hex() for each in offered),
        )

    def import_from(self, path: str | Path, domain: str | None = None) -> ImportReport:
        """Store every row of a file, or none.

        Read are JSON lines, a JSON list, CSV and Parquet, in UTF-8 or UTF-16. A row is
        ``{"prompt": …, "right": …}``, or has the fields of OpenAI's chats, ShareGPT, Alpaca,
        DPO, or prompt and completion; with optional ``wrong``, ``domain`` and ``subject``.

        Args:
            path: of the file.
            domain: of rows that name none.

        Raises:
            ImportLineError: the first bad row, by number, and what is wanted; nothing was stored.
            DiskError: the disk under the home refuses; nothing was stored.
        """
        journal = self._context.journal
        self._context.remember_model()
        try:
            with self._context.store.writing("import corrections"):
                now_s = journal.now(self._context.clock(), domain)
                defaults = Defaults(base=self._context.base, created_s=now_s, domain=domain)
                report = journal.import_from(Path(path), defaults)
        except DiskError as error:
            raise type(error)(error.path, f"{error.said}; nothing of {path} was stored") from error
        self._context.events.publish(CorrectionsImported(report.new))
        return report

    def export_to(self, path: str | Path, domain: str | None = None) -> int:
        """Write corrections as JSON lines that `import_from` reads; return how many.

        Raises:
            UsageError: there are no corrections of this domain, or the path can be none.
            DiskError: the disk refuses; what was there is untouched.
        """
        domains.check_corrected(self._context, domain)
        return self._context.journal.export_to(Path(path), domain)

    def to_jsonl(self, domain: str | None = None) -> str:
        """Return corrections, earlier answers too, as JSON lines that `import_from` reads.

        Raises:
            UsageError: there are no corrections of this domain.
        """
        domains.check_corrected(self._context, domain)
        return self._context.journal.to_jsonl(domain)

    def to_dataset(self, domain: str | None = None, *, holdout: bool | None = None) -> "Dataset":
        """Return the corrections as a ``datasets.Dataset``.

        Raises:
            UsageError: there are no corrections of this domain.
        """
        domains.check_corrected(self._context, domain)
        return self._context.journal.to_dataset(domain, holdout=holdout)


def _give_up_trainings(context: NodeContext, gone: Forgotten) -> tuple[str, ...]:
    """Delete the checkpoints of trainings that have learnt from what is gone."""
    given_up = []
    for base, domain, _ in context.checkpoints.paused():
        if domain in gone.domains and _learnt_from(context, base, domain, gone):
            context.checkpoints.clear(base, domain)
            given_up.append(domain)
    return tuple(given_up)


def _learnt_from(context: NodeContext, base: bytes, domain: str, gone: Forgotten) -> bool:
    from hivelearn.training.checkpoint import names_in

    try:
        checkpoint = context.checkpoints.load(base, domain)
        return checkpoint is not None and not set(gone.ids).isdisjoint(names_in(checkpoint))
    except HivelearnError:
        return True  # nobody can tell, and nobody can go on with it
