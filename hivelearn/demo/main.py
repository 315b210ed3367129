"""The demonstration: three nodes, three experts, one exchange, one table.

Each node is taught one subject by its expert's corrections, trains on them,
and sends the others its patch, never a correction. Afterwards all three answer
all subjects. What is printed was measured in this run on values that occur in
nobody's corrections.
"""

import json
import time
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hivelearn.demo import tasks
from hivelearn.demo.director import Director, Message
from hivelearn.demo.exam import QUESTIONS, SUBJECTS
from hivelearn.errors import UsageError
from hivelearn.report.interval import bytes_text
from hivelearn.report.table import Table

STAGES = ("before", "after_training", "after_exchange")
SYNC_WAIT_S = 60.0
SEED_MAX = 2**31


@dataclass(frozen=True, slots=True)
class Plan:
    """How large a run is; the tests run a small one."""

    seed: int = 0
    corrections: int = tasks.CORRECTIONS_MAX  # a domain; one in five judges instead of teaching
    questions: int = QUESTIONS  # a cell
    # Steps of 16 reach with half the work what as many steps of 32 do; see docs/LOG.md.
    steps: int = 240  # of training
    batch: int = 16
    rate: float = 0.007


@dataclass
class Run:
    """What one run has measured so far."""

    plan: Plan
    began_s: float = field(default_factory=time.monotonic)
    nodes: list[Message] = field(default_factory=list)  # key, name, domain
    exams: dict[str, list[Message]] = field(default_factory=dict)  # stage -> scores by node

    def say(self, text: str) -> None:
        """Print with the seconds since the start."""
        print(f"[{time.monotonic() - self.began_s:5.1f} s] {text}", flush=True)

    def result(self) -> dict[str, Any]:
        """Return the JSON object: seconds, rows, retention."""
        rows = [
            {
                "node": f"node-{number + 1}",
                "domain": domain.name,
                "own": node["domain"] == domain.name,
                **{stage: self.exams[stage][number][domain.name] for stage in STAGES},
            }
            for number, node in enumerate(self.nodes)
            for domain in tasks.DOMAINS.values()
        ]
        retention = [
            {
                "node": f"node-{number + 1}",
                **{stage: self.exams[stage][number]["base tasks"] for stage in STAGES},
            }
            for number in range(len(self.nodes))
        ]
        seconds = round(time.monotonic() - self.began_s, 1)
        return {"seconds": seconds, "seed": self.plan.seed, "rows": rows, "retention": retention}


def run(seed: int = 0, json_file: Path | None = None, plot_file: Path | None = None) -> int:
    """Run the whole demonstration; see :func:`play`."""
    return play(Plan(seed), json_file, plot_file)


def play(plan: Plan, json_file: Path | None, plot_file: Path | None) -> int:
    """Run the demonstration, print it, and write the JSON and the picture asked for.

    Returns:
        The exit code: 0.

    Raises:
        UsageError: a seed out of range, or a file that cannot be written (said first).
        ChildError: a node process failed.
    """
    if not 0 <= plan.seed < SEED_MAX:
        raise UsageError(
            f"seed {plan.seed} is out of range", remedy="Give a number from 0 to 2^31-1."
        )
    for file in (json_file, plot_file):
        _check_writable(file)
    if plot_file is not None:
        _check_plots()
    this = Run(plan)
    with Director(len(tasks.DOMAINS), asdict(plan), this.say) as nodes:
        _play(this, nodes)
    result = this.result()
    print(table(result))
    print(f"\n{result['seconds']:.0f} seconds in all")
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if plot_file is not None:
        from hivelearn.report.figures import save_exact_match

        save_exact_match(plot_file, result["rows"], result["retention"])
        this.say(f"picture in {plot_file}")
    return 0


def _play(this: Run, nodes: Director) -> None:
    """Everything that happens, in order."""
    this.nodes = nodes.all("hello")
    for actor, node in zip(nodes.actors, this.nodes, strict=True):
        this.say(f"{actor.name} is {node['name']}; its expert teaches {node['domain']}")
    probe = _probe(this)
    first = nodes.actors[0].tell("ask", prompt=probe.prompt)
    _share_base(nodes)
    _exam(this, nodes, "before")
    taught = nodes.all("teach", count=this.plan.corrections)
    for actor, count in zip(nodes.actors, taught, strict=True):
        this.say(
            f"{actor.name}: {count['training']} corrections to learn from, "
            f"{count['holdout']} held out to judge by ({count['seconds']:.1f} s)"
        )
    for actor, done in zip(nodes.actors, nodes.all("train"), strict=True):
        this.say(f"{actor.name}: {done['report']}; patch of {bytes_text(done['bytes'])}")
    _exam(this, nodes, "after_training")
    _exchange(this, nodes)
    _exam(this, nodes, "after_exchange")
    last = nodes.actors[0].tell("ask", prompt=probe.prompt)
    this.say(f"node-1 was asked: {probe.prompt}")
    print(f"          before:   {first['text']!r} by the {first['route']}")
    print(f"          after:    {last['text']!r} by expert {last['route']}")
    print(f"          expected: {probe.answer!r}; its own subject is {this.nodes[0]['domain']}\n")


def _probe(this: Run) -> tasks.Pair:
    """Return one question that node-1's expert never taught it."""
    other = list(tasks.DOMAINS.values())[1]
    return tasks.questions(other, this.plan.seed, 1)[0]


def _share_base(nodes: Director) -> None:
    """All nodes have the same base model, so each answers a part of the questions, for all."""
    count = len(nodes.actors)
    parts = nodes.each("exam", [{"subjects": SUBJECTS[n::count]} for n in range(count)])
    nodes.all("hear", base=[told for part in parts for told in part["base"]])


def _exam(this: Run, nodes: Director, stage: str) -> None:
    done = nodes.all("exam")
    this.exams[stage] = [each["scores"] for each in done]
    slowest = max(each["seconds"] for each in done)
    this.say(f"questions {stage.replace('_', ' ')}: answered by all nodes ({slowest:.1f} s)")


def _exchange(this: Run, nodes: Director) -> None:
    addresses: list[str] = []
    for actor in nodes.actors:  # one after the other, so that each can be told where the others are
        addresses.append(actor.tell("join", peers=addresses)["address"])
    keys = [node["key"] for node in this.nodes]
    nodes.each("vouch", [{"keys": [k for k in keys if k != own]} for own in keys])
    nodes.all("publish")
    for actor, done in zip(nodes.actors, nodes.all("exchange", wait_s=SYNC_WAIT_S), strict=True):
        this.say(
            f"{actor.name}: {done['quarantined']} patches in quarantine; "
            f"{bytes_text(done['bytes_in'])} in, {bytes_text(done['bytes_out'])} out "
            f"({done['seconds']:.1f} s)"
        )
        for reason in done["refused"]:
            this.say(f"{actor.name} refused {reason}")
    for actor, done in zip(nodes.actors, nodes.all("merge"), strict=True):
        for report in done["reports"]:
            this.say(f"{actor.name}: {report.splitlines()[0]} ({done['seconds']:.1f} s)")


def table(result: dict[str, Any]) -> str:
    """Return the demo's table: exact match and loss for each node and domain."""
    rows = [_line(row, row["domain"], own=row["own"]) for row in result["rows"]]
    rows += [_line(row, "base tasks", own=False) for row in result["retention"]]
    title = "held-out questions, exact match % (loss, nats per answer token)"
    return str(Table.of(sorted(rows, key=lambda row: str(row["node"])), title))


def _line(row: dict[str, Any], domain: str, *, own: bool) -> dict[str, str]:
    cells = {stage.replace("_", " "): _cell(row[stage]) for stage in STAGES}
    return {"node": row["node"], "subject": domain + (" (own)" if own else ""), **cells}


def _cell(score: dict[str, float]) -> str:
    return f"{100 * score['exact']:5.1f} ({score['loss']:.3f})"


def _check_writable(file: Path | None) -> None:
    if file is None:
        return
    try:
        with file.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise UsageError(
            f"{file} cannot be written: {error.strerror}", remedy="Give a path in your own folder."
        ) from error


def _check_plots() -> None:
    if find_spec("matplotlib") is None:
        raise UsageError("a picture needs matplotlib", remedy='pip install "hivelearn[plots]"')
