"""What `hivelearn doctor` looks at: one function a check, one line an answer.

A check says ok, unknown (nothing to mend, only nothing to know) or problem with
what to do. A check that fails in any way is a problem, never a traceback: a
doctor must not faint.
"""

import os
import platform
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from hivelearn.cli.command import NodeOptions
from hivelearn.device.governor import Governor
from hivelearn.device.limits import COMFORT, SAFETY
from hivelearn.device.reading import Reading
from hivelearn.errors import HivelearnError
from hivelearn.identity import full_name, short_name
from hivelearn.printable import printable

if TYPE_CHECKING:
    from hivelearn.node.context import NodeContext

State = Literal["ok", "unknown", "problem"]

PACKAGES: Final = (
    "hivelearn torch transformers peft accelerate safetensors numpy datasets pynacl zeroconf"
).split()
PYTHON_MIN: Final = (3, 11)
QUESTION: Final = "Repeat: hive"
LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's."""

    name: str
    state: State
    what: str
    todo: str = ""

    def __str__(self) -> str:
        """The line; a problem has a second one."""
        line = f"{self.state:<8} {self.name:<16} {printable(self.what)}"
        return f"{line}\n{'':<25} → {printable(self.todo)}" if self.todo else line


def run(node: NodeOptions) -> Iterator[Check]:
    """Yield the checks of a node, each as soon as it is known. Makes no home and no keys."""
    yield _guarded("python", python)
    yield _guarded("packages", packages)
    yield _guarded("torch", torch_device)
    context = None
    try:
        context = node.open()
    except HivelearnError as error:
        yield _failed("home", error)
    if context is not None:
        opened = context
        yield _guarded("home", lambda: writable(opened))
        yield from losses(opened)
        yield _guarded("identity", lambda: identity(opened))
        yield _guarded("inbox", lambda: inbox(opened))
        yield from adapters(opened)
    reading = _read()
    yield from sensors(reading)
    yield from permits(reading)
    yield _guarded("loopback", loopback)
    yield _guarded("discovery", discovery)
    if context is not None:
        opened = context
        yield _guarded("model", lambda: speaks(opened))


def _read() -> Reading:
    from hivelearn.device import sensors as installed

    return installed.read()


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return replace(check(), name=name)
    except Exception as error:  # noqa: BLE001 - a broken package breaks in its own way
        return _failed(name, error)


def _failed(name: str, error: Exception) -> Check:
    if isinstance(error, HivelearnError):
        return Check(name, "problem", error.what, error.remedy)
    return Check(name, "problem", f"{type(error).__name__}: {error}", "Reinstall hivelearn.")


def ok(what: str) -> Check:
    """Return a check that found nothing wrong; :func:`run` names it."""
    return Check("", "ok", what)


def python() -> Check:
    """The interpreter is one that the tests run with, or later."""
    what = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < PYTHON_MIN:
        return Check("", "problem", what, "Install Python 3.11 or later.")
    return ok(what)


def packages(names: tuple[str, ...] | list[str] = PACKAGES) -> Check:
    """Everything of the base install is there."""
    found, missing = [], []
    for name in names:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        todo = f"pip install {' '.join(missing)}"
        return Check("", "problem", f"missing: {', '.join(missing)}", todo)
    return ok(", ".join(found))


def torch_device() -> Check:
    """Which device models run on by default, and whether it multiplies in bfloat16."""
    import torch

    from hivelearn.inference.loading import has_bf16_kernels, pick_device

    device = pick_device("auto")
    bf16 = torch.cuda.is_bf16_supported() if device == "cuda" else has_bf16_kernels()
    kernels = "bfloat16 kernels" if bf16 else "no bfloat16 kernels: computes in float32"
    return ok(f"{device}, {torch.get_num_threads()} threads, {kernels}")


def writable(context: "NodeContext") -> Check:
    """The home can be written, its database is whole, and who writes to it now."""
    from hivelearn.store.errors import WriterBusyError

    if not context.home.exists:
        return _absent(context.home.path)
    try:
        with context.store.writing("doctor", wait_s=0.0):
            version = context.store.database.version()
    except WriterBusyError as busy:
        who = f"process {busy.pid}" if busy.pid else "another process"
        return ok(f"{context.home.path}; {who} writes now: {busy.doing}")
    return ok(f"{context.home.path}, version {version}, writable, nobody else writes")


def _absent(home: Path) -> Check:
    """A home that is not there yet can be made, or not."""
    ground = next(each for each in (home, *home.parents) if each.exists())
    if not os.access(ground, os.W_OK):
        todo = "Choose another directory with HIVELEARN_HOME or --home."
        return Check("", "problem", f"none at {home} yet, and {ground} cannot be written", todo)
    return Check("", "unknown", f"none at {home} yet; the first correction makes it")


def losses(context: "NodeContext") -> Iterator[Check]:
    """What was acknowledged is still there; each loss is a line until its record is deleted."""
    from hivelearn.store.witness import LOSS_REMEDY

    todo = LOSS_REMEDY.format(path=context.store.losses.path)
    try:
        pending = context.store.loss()
    except HivelearnError as error:
        yield _failed("journal", error)
        return
    found = [*context.store.losses.list(), *([] if pending is None else [pending])]
    for loss in found:
        when = datetime.fromtimestamp(loss.found_s).astimezone()
        yield Check("journal", "problem", f"{loss} (found {when:%Y-%m-%d %H:%M})", todo)
    if not found:
        yield replace(ok("nothing that was acknowledged is missing"), name="journal")


def identity(context: "NodeContext") -> Check:
    """The keys can be read, and others would see this name."""
    keys = context.known_identity()
    if keys is None:
        return Check("", "unknown", "no keys yet; the first correction or `join` makes them")
    keys.certificate.check(context.clock())
    return ok(f"{short_name(keys.author)}  {full_name(keys.author)}")


def inbox(context: "NodeContext") -> Check:
    """Whether every correction that was left for the journal can be read."""
    aside = context.store.inbox.garbage()
    if not aside:
        return ok("nothing set aside")
    todo = f"Look at what lies in {aside[0].parent}, and delete it."
    return Check("", "problem", f"files that are no corrections: {len(aside)}", todo)


def adapters(context: "NodeContext") -> Iterator[Check]:
    """What serves is whole on this disk: one line, or one for each that is lost."""
    from hivelearn.node import payloads

    try:
        lost = payloads.lost(context.store, context.base)
    except Exception as error:  # noqa: BLE001 - as for every check
        yield _failed("adapters", error)
        return
    yield from (_failed("adapters", error) for error in lost)
    if not lost:
        yield replace(ok("all that serve are whole"), name="adapters")


def sensors(reading: Reading) -> Iterator[Check]:
    """One line for each quantity, known or unknown with its reason."""
    for name, text in reading.described().items():
        state: State = "unknown" if getattr(reading, name).value is None else "ok"
        yield Check(name, state, text.removeprefix("unknown: "))


def permits(reading: Reading) -> Iterator[Check]:
    """What the governor says now, of work one waits for and of work nobody waits for."""
    asked = Governor(SAFETY, read=lambda: reading).permit()
    todo = "" if asked.work else "Wait until it has cooled down, or plug it in."
    yield Check("train now", "ok" if asked.work else "problem", asked.why, todo)
    yield Check("live now", "ok", Governor(COMFORT, read=lambda: reading).permit().why)


def loopback() -> Check:
    """Sockets can listen, and the standard library has the TLS that the LAN speaks."""
    import ssl

    from hivelearn.swarm.fabrics import lan_tls

    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
    lan_tls.for_listening()
    return ok(f"listens; TLS 1.3 by {ssl.OPENSSL_VERSION}")


def discovery() -> Check:
    """Zeroconf is there; whether the local network lets it through only a join can tell."""
    import zeroconf

    return ok(f"zeroconf {zeroconf.__version__}; `hivelearn join` shows who is found")


def speaks(context: "NodeContext") -> Check:
    """The model loads and says something."""
    import time

    from hivelearn.inference.engine import Sampling
    from hivelearn.node.ask import ask

    began_s = time.perf_counter()
    answer = ask.ask(context, [QUESTION], ask.AskOptions(Sampling(8)))[0]
    took_s = time.perf_counter() - began_s
    where = context.folder.name if context.folder.name != "model" else "embedded nano model"
    return ok(f"{where} answers {QUESTION!r} with {answer.text!r} after {took_s:.1f} s")
