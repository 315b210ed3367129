"""Questions in, answers out, corrections kept: what a person does with a node all day."""

import queue
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from hivelearn.bounds import TEXT, Rule, check, check_record, many
from hivelearn.inference.answer import Answer, Route
from hivelearn.inference.chat import Example, Messages, as_messages
from hivelearn.inference.engine import Sampling, require
from hivelearn.node import measure
from hivelearn.node.ask import experts
from hivelearn.node.ask.experts import ExpertPool
from hivelearn.node.context import NodeContext
from hivelearn.node.events import CorrectionAdded
from hivelearn.node.served import served_id
from hivelearn.store.correction import Correction, check_domain, to_conversation

_END: Final = None
_PAIR: Final = Rule("a pair", lambda given: isinstance(given, tuple | list) and len(given) == 2)  # noqa: PLR2004
_PAIRS: Final = many(_PAIR, "a list of (prompt, answer)")
_NAMES: Final = many(TEXT, "a list of ids, as text")
# A model may say what the journal refuses from people; that must not stop its correction.
_NOISE: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class AskOptions:
    """How a question is to be answered."""

    sampling: Sampling
    domain: str | None = None
    experts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what names no domain or no expert."""
        if self.domain is not None:
            check_domain(self.domain)
        check_record({"experts": _NAMES}, self)


def ask(
    context: NodeContext, prompts: "Sequence[str | Messages]", options: AskOptions
) -> list[Answer]:
    """Answer all prompts, each expert's questions in one batch."""
    rows = [context.engine.encoder.prompt(prompt) for prompt in prompts]
    chosen, routes = _routed(context, rows, options)
    texts = chosen.answer(context.engine, rows, routes, options.sampling)
    return [
        _answer(context, prompt, text, route, options)
        for prompt, text, route in zip(prompts, texts, routes, strict=True)
    ]


def _routed(
    context: NodeContext, rows: Sequence[Example], options: AskOptions
) -> tuple[ExpertPool, list[Route]]:
    chosen = experts.current(context)
    named: list[str] = []
    if options.experts:
        chosen, named = experts.with_named(context, chosen, options.experts)
    return chosen, chosen.routes(context.engine, rows, options.domain, named)


def _answer(
    context: NodeContext, prompt: "str | Messages", text: str, route: Route, options: AskOptions
) -> Answer:
    def journal(
        messages: Messages, right: str, *, domain: str, subject: str | None, wrong: str | None
    ) -> Correction:
        number = serving_number(context, route)
        return correct(
            context,
            messages,
            right,
            domain=domain,
            subject=subject,
            wrong=wrong and _NOISE.sub("\ufffd", wrong),
            generation=number,
        )

    return Answer(text, route, tuple(as_messages(prompt)), options.domain, journal)


def serving_number(context: NodeContext, route: Route) -> int | None:
    """Return the generation that ``route`` answered from; None is the base model."""
    for generation in context.serving():
        served = [s for s in (generation.specialist, *generation.experts) if s is not None]
        if set(route.experts) & {served_id(each) for each in served}:
            return generation.number
    return None


def stream(context: NodeContext, prompt: "str | Messages", options: AskOptions) -> Iterator[str]:
    """Yield the answer's text as it comes. Closing the iterator lets the rest finish unheard."""
    require(context.engine, "stream_text", "streaming")
    rows = [context.engine.encoder.prompt(prompt)]
    chosen, routes = _routed(context, rows, options)
    pieces: queue.SimpleQueue[str | BaseException | None] = queue.SimpleQueue()

    def speak() -> None:
        try:
            chosen.answer(context.engine, rows, routes, options.sampling, pieces.put)
        except BaseException as error:  # noqa: BLE001 - carried over to the reader's thread
            pieces.put(error)
        else:
            pieces.put(_END)

    threading.Thread(target=speak, name="hivelearn-stream", daemon=True).start()
    while (piece := pieces.get()) is not _END:
        if isinstance(piece, BaseException):
            raise piece
        yield piece


def score(
    context: NodeContext, pairs: "Sequence[tuple[str | Messages, str]]", options: AskOptions
) -> list[float]:
    """Return mean nats per answer token of each (prompt, answer), as this node would serve it."""
    check({"pairs": _PAIRS}, {"pairs": pairs})
    rows = [context.engine.encoder.pair(prompt, answer) for prompt, answer in pairs]
    chosen, routes = _routed(context, rows, options)
    return chosen.losses(context.engine, rows, routes)


def correct(
    context: NodeContext,
    prompt: "str | Messages",
    right: str,
    *,
    domain: str,
    subject: str | None = None,
    wrong: str | None = None,
    generation: int | None = None,
) -> Correction:
    """Journal what the answer should have been; never waits for another process.

    Raises:
        CorrectionError: empty, enormous, binary, or no domain name.
        UsageError: longer than the model takes, if that is open.
    """
    correction = Correction(
        messages=to_conversation(prompt),
        right=right,
        domain=domain,
        base=context.base,
        created_s=context.journal.now(context.clock(), domain),
        wrong=wrong,
        subject=subject,
        generation=generation,
    )
    if context.is_open:  # else it is left out, and named, when a model first reads it
        measure.as_row(context, correction)
    context.store.remember(correction)
    context.events.publish(CorrectionAdded(correction))
    return correction
