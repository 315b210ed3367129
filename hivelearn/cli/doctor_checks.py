"""What `hivelearn doctor` looks at: one function a check, one line an answer.

Those of the model are in `doctor_model.py`.
"""

import os
import platform
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hivelearn.cli import doctor_model
from hivelearn.cli.command import NodeOptions
from hivelearn.cli.doctor_line import Check, State, failed, guarded, ok
from hivelearn.device.governor import Governor
from hivelearn.device.limits import COMFORT, SAFETY
from hivelearn.device.reading import Reading
from hivelearn.errors import HivelearnError
from hivelearn.identity import full_name, short_name
from hivelearn.inference.errors import NoModelError
from hivelearn.node.home_model import RememberedModelError

if TYPE_CHECKING:
    from hivelearn.node.context import NodeContext

PACKAGES: Final = (
    "hivelearn torch transformers peft accelerate safetensors numpy datasets pynacl zeroconf"
).split()
PYTHON_MIN: Final = (3, 11)
LOOPBACK: Final = "127.0.0.1"


def run(node: NodeOptions) -> Iterator[Check]:
    """Yield the checks of a node, each as soon as it is known. Makes no home and no keys."""
    yield guarded("python", python)
    yield guarded("packages", packages)
    yield guarded("torch", torch_device)
    context = None
    try:
        context = node.open()
    except (NoModelError, RememberedModelError) as error:
        yield failed("model", error)
    except HivelearnError as error:
        yield failed("home", error)
    if context is not None:
        opened = context
        yield guarded("home", lambda: writable(opened))
        yield from losses(opened)
        yield guarded("identity", lambda: identity(opened))
        yield from feeds(opened)
        yield guarded("inbox", lambda: inbox(opened))
        yield from adapters(opened)
    reading = _read()
    yield from sensors(reading)
    yield from permits(reading)
    yield guarded("loopback", loopback)
    yield guarded("discovery", discovery)
    if context is not None:
        yield from doctor_model.checks(context)


def _read() -> Reading:
    from hivelearn.device import sensors as installed

    return installed.read()


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
        yield failed("journal", error)
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


def feeds(context: "NodeContext") -> Iterator[Check]:
    """Whether this home is an older copy of itself; what happened to its feeds and to others'."""
    from hivelearn.node import feed_notes

    try:
        stale, history = feed_notes.stale(context), feed_notes.history(context)
    except Exception as error:  # noqa: BLE001 - as for every check
        yield failed("feeds", error)
        return
    yield from (Check("feeds", "problem", note, feed_notes.STALE_TODO) for note in stale)
    yield from (replace(ok(note), name="feeds") for note in history)
    if not stale and not history:
        yield replace(ok("each is one history"), name="feeds")


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
        yield failed("adapters", error)
        return
    yield from (failed("adapters", error) for error in lost)
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
