"""Interleaved timing of ours and a rival, and the JSON that every benchmark writes."""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One measured claim. ``ratio`` is rival / ours: above 1 we are faster."""

    work: str
    ours: float
    rival: float | None
    rival_name: str
    unit: str
    ratio: float | None
    target: str
    holds: bool
    spread: float  # interquartile range of ours, same unit


def interleaved(
    ours: Callable[[], object], rival: Callable[[], object], rounds: int
) -> tuple[float, float, float]:
    """Return (median ours, median rival, interquartile range of ours), wall seconds.

    The first run of each is thrown away; the two take turns, so that a busy
    minute of the machine falls on both.
    """
    mine, theirs = [], []
    for index in range(rounds + 1):
        for work, times in ((ours, mine), (rival, theirs)):
            began = time.perf_counter()
            work()
            if index:
                times.append(time.perf_counter() - began)
    quarters = statistics.quantiles(mine, n=4) if len(mine) > 1 else [0.0, 0.0, 0.0]
    return statistics.median(mine), statistics.median(theirs), quarters[2] - quarters[0]


def machine() -> dict[str, object]:
    """Return what a reader must know of the machine."""
    return {
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def arguments(description: str) -> argparse.Namespace:
    """Parse --quick, --seed and --json."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="at most 45 s on two cores")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def report(asked: str, rows: list[Row], file: Path | None) -> None:
    """Print the rows as a table and write the JSON object."""
    print(f"{'work':32} {'ours':>10} {'rival':>10} {'ratio':>7}  target")
    for row in rows:
        rival = "–" if row.rival is None else f"{row.rival:.4g}"
        ratio = "–" if row.ratio is None else f"{row.ratio:.2f}"
        mark = "holds" if row.holds else "MISSED"
        print(
            f"{row.work:32} {row.ours:10.4g} {rival:>10} {ratio:>7}  {row.target} {row.unit} "
            f"[{mark}; rival: {row.rival_name}]"
        )
    if file is not None:
        whole = {"asked": asked, "machine": machine(), "rows": [asdict(row) for row in rows]}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
