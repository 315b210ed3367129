"""Questions in, answers out, corrections kept: what a person does with a node all day."""

import queue
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from hivelearn.bounds import TEXT, Rule, check, check_record, many
from hivelearn.inference.answer import Answer, Route
from hivelearn.inference.engine import Sampling
from hivelearn.inference.rows import Messages, Row, as_messages
from hivelearn.node import evidence, panel
from hivelearn.node.panel import Panel
from hivelearn.node.workbench import Workbench
from hivelearn.store.correction import Correction, check_domain
from hivelearn.store.correction import as_messages as turns

_END: Final = None
_PAIR: Final = Rule("a pair", lambda given: isinstance(given, tuple | list) and len(given) == 2)  # noqa: PLR2004
_PAIRS: Final = many(_PAIR, "a list of (prompt, answer)")
_NAMES: Final = many(TEXT, "a list of ids, as text")
# A model may say what the journal refuses from people; that must not stop its correction.
_NOISE: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Wish:
    """How a question is to be answered."""

    sampling: Sampling
    domain: str | None = None
    experts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what names no domain or no expert."""
        if self.domain is not None:
            check_domain(self.domain)
        check_record({"experts": _NAMES}, self)


def ask(bench: Workbench, prompts: "Sequence[str | Messages]", wish: Wish) -> list[Answer]:
    """Answer all prompts, each expert's questions in one batch."""
    rows = [bench.engine.rower.prompt(prompt) for prompt in prompts]
    chosen, routes = _routed(bench, rows, wish)
    texts = chosen.answer(bench.engine, rows, routes, wish.sampling)
    return [
        _answer(bench, prompt, text, route, wish)
        for prompt, text, route in zip(prompts, texts, routes, strict=True)
    ]


def _routed(bench: Workbench, rows: Sequence[Row], wish: Wish) -> tuple[Panel, list[Route]]:
    chosen = panel.current(bench)
    named: list[str] = []
    if wish.experts:
        chosen, named = panel.with_named(bench, chosen, wish.experts)
    return chosen, chosen.routes(bench.engine, rows, wish.domain, named)


def _answer(
    bench: Workbench, prompt: "str | Messages", text: str, route: Route, wish: Wish
) -> Answer:
    def journal(
        messages: Messages, right: str, *, domain: str, subject: str | None, wrong: str | None
    ) -> Correction:
        number = serving_number(bench, route)
        return correct(
            bench,
            messages,
            right,
            domain=domain,
            subject=subject,
            wrong=wrong and _NOISE.sub("\ufffd", wrong),
            generation=number,
        )

    return Answer(text, route, tuple(as_messages(prompt)), wish.domain, journal)


def serving_number(bench: Workbench, route: Route) -> int | None:
    """Return the generation that ``route`` answered from; None is the base model."""
    for generation in bench.store.generations.serving(bench.base):
        served = [s for s in (generation.specialist, *generation.experts) if s is not None]
        if set(route.experts) & {panel.expert_id(each) for each in served}:
            return generation.number
    return None


def stream(bench: Workbench, prompt: "str | Messages", wish: Wish) -> Iterator[str]:
    """Yield the answer's text as it comes. Closing the iterator lets the rest finish unheard."""
    rows = [bench.engine.rower.prompt(prompt)]
    chosen, routes = _routed(bench, rows, wish)
    pieces: queue.SimpleQueue[str | BaseException | None] = queue.SimpleQueue()

    def speak() -> None:
        try:
            chosen.answer(bench.engine, rows, routes, wish.sampling, pieces.put)
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
    bench: Workbench, pairs: "Sequence[tuple[str | Messages, str]]", wish: Wish
) -> list[float]:
    """Return mean nats per answer token of each (prompt, answer), as this node would serve it."""
    check({"pairs": _PAIRS}, {"pairs": pairs})
    rows = [bench.engine.rower.pair(prompt, answer) for prompt, answer in pairs]
    chosen, routes = _routed(bench, rows, wish)
    return chosen.losses(bench.engine, rows, routes)


def correct(
    bench: Workbench,
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
        messages=turns(prompt),
        right=right,
        domain=domain,
        base=bench.base,
        created_s=bench.store.journal.now(bench.world.clock(), domain),
        wrong=wrong,
        subject=subject,
        generation=generation,
    )
    if bench.is_open:  # else it is left out, and named, when a model first reads it
        evidence.as_row(bench, correction)
    bench.store.remember(correction)
    return correction
