"""Questions in, answers out, corrections kept: what a person does with a node all day."""

import re
from collections.abc import Sequence
from typing import Final

from hivelearn.bounds import Rule, check, many
from hivelearn.inference.chat import Example
from hivelearn.inference.completion import Completion
from hivelearn.inference.messages import Messages, as_messages, with_texts
from hivelearn.inference.route import Route
from hivelearn.node import domains, measure
from hivelearn.node.ask import experts
from hivelearn.node.ask.answer import Answer
from hivelearn.node.ask.experts import ExpertPool
from hivelearn.node.ask.options import AskOptions
from hivelearn.node.context import NodeContext
from hivelearn.node.events import CorrectionAdded
from hivelearn.node.served import served_id
from hivelearn.store.correction import Correction, to_conversation

_PAIR: Final = Rule("a pair", lambda given: isinstance(given, tuple | list) and len(given) == 2)  # noqa: PLR2004
_PAIRS: Final = many(_PAIR, "a list of (prompt, answer)")
# A model may say what the journal refuses from people; that must not stop its correction.
_NOISE: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")


def ask(
    context: NodeContext, prompts: "Sequence[str | Messages]", options: AskOptions
) -> list[Answer]:
    """Answer all prompts, each expert's questions in one batch."""
    rows = [context.engine.encoder.prompt(prompt) for prompt in prompts]
    chosen, routes = routed(context, rows, options)
    said = chosen.answer(context.engine, rows, routes, options.sampling)
    return [
        answer_of(context, prompt, completion, route, options)
        for prompt, completion, route in zip(prompts, said, routes, strict=True)
    ]


def routed(
    context: NodeContext, rows: Sequence[Example], options: AskOptions
) -> tuple[ExpertPool, list[Route]]:
    """Return the pool that may answer ``rows``, and who of it takes each.

    Raises:
        UsageError: a domain that this node has never heard of, an expert that is not here.
    """
    if options.domain is not None:
        domains.check_known(context, options.domain)
    chosen = experts.current(context)
    named: list[str] = []
    if options.experts:
        chosen, named = experts.with_named(context, chosen, options.experts)
    return chosen, chosen.routes(context.engine, rows, options.domain, named)


def answer_of(
    context: NodeContext,
    prompt: "str | Messages",
    said: Completion,
    route: Route,
    options: AskOptions,
) -> Answer:
    """Return what was said as an answer that its expert can correct."""

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

    return Answer(
        text=said.text,
        route=route,
        messages=tuple(as_messages(prompt)),
        domain=options.domain,
        finish_reason=said.finish_reason,
        prompt_tokens=said.prompt_tokens,
        answer_tokens=said.answer_tokens,
        _journal=journal,
    )


def serving_number(context: NodeContext, route: Route) -> int | None:
    """Return the generation that ``route`` answered from; None is the base model."""
    for generation in context.serving():
        served = [s for s in (generation.specialist, *generation.experts) if s is not None]
        if set(route.experts) & {served_id(each) for each in served}:
            return generation.number
    return None


def score(
    context: NodeContext, pairs: "Sequence[tuple[str | Messages, str]]", options: AskOptions
) -> list[float]:
    """Return mean nats per answer token of each (prompt, answer), as this node would serve it."""
    check({"pairs": _PAIRS}, {"pairs": pairs})
    rows = [context.engine.encoder.pair(prompt, answer) for prompt, answer in pairs]
    chosen, routes = routed(context, rows, options)
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
    context.remember_model()
    correction = Correction(
        messages=to_conversation(with_texts(prompt)),
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
