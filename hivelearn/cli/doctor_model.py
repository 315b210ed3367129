"""What `hivelearn doctor` says of the model: which it is, whether it speaks, what is set aside."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from hivelearn.cli.doctor_line import Check, failed, guarded, ok

if TYPE_CHECKING:
    from hivelearn.node.context import NodeContext

QUESTION: Final = "Repeat: hive"
ANSWER_TOKENS: Final = 8


def checks(context: "NodeContext") -> Iterator[Check]:
    """Yield the checks of the node's model; opening it takes seconds."""
    yield guarded("home's model", lambda: _remembered(context))
    try:
        remarks = context.engine.remarks
    except Exception as error:  # noqa: BLE001 - a model's folder breaks in its own way
        yield failed("model", error)
        return
    yield guarded("model", lambda: speaks(context))
    for remark in remarks:
        yield Check("model's folder", "ok", remark)


def _remembered(context: "NodeContext") -> Check:
    kept = context.choice.remembered
    if kept is None:
        return ok("none: calls that name no model take the nano model")
    return ok(f"{kept}: calls that name no model take it")


def speaks(context: "NodeContext") -> Check:
    """The model loads and says something."""
    from hivelearn.inference.sampling import Sampling
    from hivelearn.node.ask import ask
    from hivelearn.node.ask.options import AskOptions

    began_s = time.perf_counter()
    answer = ask.ask(context, [QUESTION], AskOptions(Sampling(ANSWER_TOKENS)))[0]
    took_s = time.perf_counter() - began_s
    where = context.choice.name
    return ok(f"{where} answers {QUESTION!r} with {answer.text!r} after {took_s:.1f} s")
