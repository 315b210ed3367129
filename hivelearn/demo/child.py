"""One node in a process of its own, spoken to over its standard streams only.

One JSON object a line in, one a line out: ``{"do": name, ...}`` is answered by
``{"done": name, "seconds": s, ...}``; ``{"say": text}`` may come between. At the
end of its input the process ends, in the middle of whatever it does: no node
outlives the demonstration, however that ended.
"""

import contextlib
import json
import logging
import os
import queue
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from hivelearn.errors import HivelearnError

Message = dict[str, Any]
END_S = 2.0  # from the end of the input to the end of the process, if it is busy


class Child:
    """The node, its subject and its share of the swarm."""

    def __init__(self, home: Path, plan: Message) -> None:
        import torch

        from hivelearn.demo import exam, tasks
        from hivelearn.node.node import Node
        from hivelearn.training.recipe import Recipe

        torch.set_num_threads(1)  # three nodes share the machine; more threads only wait
        self.seed = int(plan["seed"])
        recipe = Recipe(steps=plan["steps"], batch=plan["batch"], rate=plan["rate"])
        self.node = Node(home=home, progress=False, recipe=recipe)
        self.domain = list(tasks.DOMAINS.values())[plan["number"]]
        self.questions = exam.Exam(exam.questions(self.seed, plan["questions"]))
        self.swarm: Any = None
        self.patch: Any = None

    def hello(self, _: Message) -> Message:
        """Tell who this is."""
        return {"key": self.node.key, "name": self.node.name, "domain": self.domain.name}

    def exam(self, request: Message) -> Message:
        """Answer held-out questions, of some subjects or of all; return what the base said, too."""
        from hivelearn.demo import exam

        subjects = request.get("subjects", exam.SUBJECTS)
        scores = {name: self.questions.sit(self.node, name) for name in subjects}
        return {"scores": scores, "base": [self.questions.told(name) for name in subjects]}

    def hear(self, request: Message) -> Message:
        """Take over what other nodes' base model, which is this one's, said before the training."""
        for told in request["base"]:
            self.questions.hear(told)
        return {}

    def ask(self, request: Message) -> Message:
        """Answer one question."""
        answer = self.node.ask(request["prompt"], max_new_tokens=40)
        return {"text": answer.text, "route": str(answer.route)}

    def teach(self, request: Message) -> Message:
        """Ask what the expert asks, and take the expert's correction of every answer."""
        from hivelearn.demo import tasks

        lessons = tasks.corrections(self.domain, self.seed, request["count"])
        answers = self.node.ask_many([lesson.prompt for lesson in lessons], max_new_tokens=40)
        for answer, lesson in zip(answers, lessons, strict=True):
            answer.correct(lesson.answer, domain=self.domain.name)
        count = self.node.corrections.counts()[self.domain.name]
        return {"training": count.training, "holdout": count.holdout}

    def train(self, _: Message) -> Message:
        """Turn the corrections into a patch."""
        self.patch = self.node.train(self.domain.name)
        report = self.node.last_training
        assert self.patch is not None
        assert report is not None
        return {"report": str(report), "bytes": self.patch.body.payload_bytes}

    def join(self, request: Message) -> Message:
        """Join all domains on loopback."""
        from hivelearn.demo import tasks

        names = [domain.name for domain in tasks.DOMAINS.values()]
        self.swarm = self.node.join(
            *names, listen="127.0.0.1:0", peers=request["peers"], discover=False
        )
        return {"address": self.swarm.address}

    def vouch(self, request: Message) -> Message:
        """Vouch for the other nodes' owners, as people do who know each other."""
        for key in request["keys"]:
            self.node.vouch(key, note="met in person")
        return {}

    def publish(self, _: Message) -> Message:
        """Announce the own patch."""
        self.swarm.publish(self.patch)
        return {}

    def exchange(self, request: Message) -> Message:
        """Fetch what the others have."""
        self.swarm.sync(wait_s=request["wait_s"])
        shelf = self.node.status().shelf
        moved = [(peer.bytes_in, peer.bytes_out) for peer in self.swarm.peers]
        return {
            "quarantined": shelf.get("quarantined", 0),
            "bytes_in": sum(came for came, _ in moved),
            "bytes_out": sum(went for _, went in moved),
            "refused": list(self.swarm.refused),
        }

    def merge(self, _: Message) -> Message:
        """Judge what rests in quarantine."""
        from hivelearn.demo import tasks

        others = [d.name for d in tasks.DOMAINS.values() if d.name != self.domain.name]
        return {"reports": [str(self.node.merge(name)) for name in others]}

    def bye(self, _: Message) -> Message:
        """Leave the swarm."""
        if self.swarm is not None:
            self.swarm.close()
        self.node.close()
        return {}


class _Say(logging.Handler):
    """Warnings of the library, such as why the device must rest, go to the parent."""

    def __init__(self, out: IO[str]) -> None:
        super().__init__(logging.WARNING)
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line."""
        _send(self._out, {"say": record.getMessage()})


def _send(out: IO[str], message: Message) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


def _requests(lines: IO[str]) -> Iterator[Message]:
    """Yield what the parent asks; when it is gone, end this process, also while it works."""
    heard: queue.Queue[Message | None] = queue.Queue()

    def listen() -> None:
        for line in lines:
            heard.put(json.loads(line))
        heard.put(None)
        time.sleep(END_S)  # a child that waits for work ends in peace, meanwhile
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=listen, daemon=True).start()
    while (request := heard.get()) is not None:
        yield request


def serve(child: Child, lines: IO[str], out: IO[str]) -> None:
    """Do what each line says until the input ends."""
    for request in _requests(lines):
        action: Callable[[Message], Message] = getattr(child, request["do"])
        began_s = time.monotonic()
        try:
            done = action(request)
        except HivelearnError as error:
            _send(out, {"error": error.what, "remedy": error.remedy})
            continue
        _send(out, {"done": request["do"], "seconds": time.monotonic() - began_s, **done})


def main() -> None:
    """Run one child: ``python -m hivelearn.demo.child PLAN`` with the plan as JSON."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    # Whatever a library prints must not be taken for an answer.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logging.getLogger("hivelearn").addHandler(_Say(out))
    # Ctrl-C reaches the whole group; the parent decides, and asks by SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    plan = json.loads(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="hivelearn-demo-") as home:
        try:
            child = Child(Path(home) / "home", plan)
        except HivelearnError as error:
            _send(out, {"error": error.what, "remedy": error.remedy})
            return
        with contextlib.suppress(BrokenPipeError):  # the parent is gone before it heard
            serve(child, sys.stdin, out)
        child.bye({})


if __name__ == "__main__":
    main()
