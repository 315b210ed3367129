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
    floor: float | None = None  # what the bytes alone would cost: one copy of them


def interleaved(
    ours: Callable[[], object],
    rival: Callable[[], object],
    rounds: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
    rival_rounds: int | None = None,
) -> tuple[float, float, float]:
    """Return (median ours, median rival, interquartile range of ours), in seconds of ``clock``.

    The first run of each is thrown away; the two take turns, so that a busy
    minute of the machine falls on both. A rival that takes minutes may run fewer
    rounds; if only one, that one counts.
    """
    mine, theirs = [], []
    theirs_wanted = rounds + 1 if rival_rounds is None else rival_rounds
    for index in range(rounds + 1):
        for work, times, wanted in ((ours, mine, rounds + 1), (rival, theirs, theirs_wanted)):
            if index < wanted:
                began = clock()
                work()
                if index or wanted == 1:
                    times.append(clock() - began)
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
    print(f"{'work':40} {'ours':>10} {'rival':>10} {'ratio':>7}  {'floor':>8}  target")
    for row in rows:
        rival = "–" if row.rival is None else f"{row.rival:.4g}"
        ratio = "–" if row.ratio is None else f"{row.ratio:.2f}"
        floor = "–" if row.floor is None else f"{row.floor:.2g}"
        mark = "holds" if row.holds else "MISSED"
        print(
            f"{row.work:40} {row.ours:10.4g} {rival:>10} {ratio:>7}  {floor:>8}  "
            f"{row.target} {row.unit} [{mark}; rival: {row.rival_name}]"
        )
    if file is not None:
        whole = {"asked": asked, "machine": machine(), "rows": [asdict(row) for row in rows]}
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
