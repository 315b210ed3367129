"""What a person decides after regretting an adoption: the previous generation serves again."""

import json

from hivelearn.node import domains
from hivelearn.node.context import NodeContext
from hivelearn.node.events import Adopted
from hivelearn.store.generations import Generation


def rollback(context: NodeContext, domain: str) -> Generation:
    """Serve the previous state of a domain again, as a new generation.

    What the undone one admitted or merged rests in the sandbox: reachable by name, judged
    again when somebody asks for a merge, and not by a background run, which would undo by
    itself what its owner did.

    Raises:
        NothingToRollBackError: nothing was ever adopted there, or all is undone.
    """
    domains.check_not_mistyped(context, domain)
    store = context.store
    with store.writing(f"roll back {domain}"), store.together():
        restored = store.generations.rollback(context.base, domain, context.clock())
        for expert in restored.experts:  # what serves again waits for no judgement
            entry = expert.patch and store.shelf.get(expert.patch)
            if entry and entry.state in ("quarantined", "sandboxed", "merged"):
                store.shelf.move(entry.id, "admitted", reason=restored.why)
        _take_back(context, restored)
    context.events.publish(Adopted(restored))
    return restored


def _take_back(context: NodeContext, restored: Generation) -> None:
    """Send to the sandbox what the undone generation took in and nothing serves any more."""
    assert restored.undoes is not None
    shelf = context.shelf
    history = context.generations.history(context.base, restored.domain)
    undone = json.loads(history[restored.undoes - 1].report)
    serving = {expert.patch for expert in restored.experts}
    gone = []
    for name in undone.get("patches", ()):
        entry = shelf.get(bytes.fromhex(name))
        if entry and entry.id not in serving and entry.state in ("admitted", "merged"):
            shelf.move(entry.id, "sandboxed", reason=restored.why)
            gone.append(entry.id)
    context.store.marks.take_back(context.base, restored.domain, gone)


def taken_back(context: NodeContext, domain: str) -> set[bytes]:
    """Return the patches that a rollback took out, and that nobody asked to judge again since."""
    return context.store.marks.taken_back(context.base, domain)


def give_back(context: NodeContext, domain: str) -> None:
    """Let them be judged like all others. The caller holds the writer lock."""
    context.store.marks.give_back(context.base, domain)
