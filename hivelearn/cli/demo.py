"""`hivelearn demo`: the demonstration."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer


@dataclass(frozen=True, slots=True)
class DemoCommand:
    """What `demo` was given."""

    seed: Annotated[int, typer.Option(help="Other seed, other questions.")] = 0
    json: Annotated[Path | None, typer.Option(help="Write the figures there.")] = None
    plot: Annotated[Path | None, typer.Option(help="Draw them there, a PNG.")] = None


def demo(wanted: DemoCommand) -> int:
    """Watch three nodes teach each other (5 minutes)."""
    from hivelearn.demo.main import run

    return run(wanted.seed, wanted.json, wanted.plot)
