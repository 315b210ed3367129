"""One node of ``bench_real`` in a process of its own: what the parent has it do, phase by phase."""

import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from office import Pair

LESSON_TOKENS: Final = 40  # the longest right answer has about 30
GENERAL_TOKENS: Final = 32  # enough to see whether the words are the same
ROWS_AT_ONCE: Final = 50  # questions in one call, so that the memory of their cache stays small

node: Any = None  # of this process
swarm: Any = None
patch: Any = None


def open_node(model: str, home: Path) -> str:
    """Open the node and return its key."""
    global node  # noqa: PLW0603 - one process, one node
    import torch

    import hivelearn as hl

    torch.set_num_threads(1)
    node = hl.Node(model, home=home, progress=False)
    return str(node.key)


def teach(domain: str, pairs: Sequence[Pair]) -> None:
    """Leave an expert's corrections."""
    for pair in pairs:
        node.correct(pair.prompt, pair.answer, domain=domain)


def train(domain: str) -> dict[str, Any]:
    """Train with the default recipe; return the report, the seconds and the peak memory."""
    global patch  # noqa: PLW0603
    began_s = time.process_time()
    patch = node.train(domain)
    return {
        "report": str(node.last_training),
        "cpu_s": time.process_time() - began_s,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def ask(prompts: Sequence[str], max_new_tokens: int) -> list[tuple[str, str]]:
    """Return answers and who gave them; no question says what it is about."""
    found: list[tuple[str, str]] = []
    for at in range(0, len(prompts), ROWS_AT_ONCE):
        some = list(prompts[at : at + ROWS_AT_ONCE])
        answers = node.ask_many(some, max_new_tokens=max_new_tokens)
        found += [(answer.text.strip(), str(answer.route)) for answer in answers]
    return found


def join(domains: Sequence[str], peers: Sequence[str]) -> str:
    """Join on loopback and return the own address."""
    global swarm  # noqa: PLW0603
    swarm = node.join(*domains, listen="127.0.0.1:0", peers=list(peers), discover=False)
    return str(swarm.address)


def publish(friends: Sequence[str]) -> None:
    """Vouch for the others' owners, and announce the own patch."""
    for key in friends:
        node.vouch(key, note="met in person")
    swarm.publish(patch)


def take_in(domains: Sequence[str]) -> dict[str, Any]:
    """Fetch what the others have and judge it; return the reports and what judging cost."""
    swarm.sync(wait_s=60)
    began_s = time.process_time()
    reports = [str(node.merge(domain)) for domain in domains]
    return {"reports": reports, "cpu_s": time.process_time() - began_s}


def close() -> None:
    """Leave."""
    if swarm is not None:
        swarm.close()
    node.close()
