"""The progress bar of a training, drawn from the node's events."""

from collections.abc import Iterator
from contextlib import contextmanager

from hivelearn.node.context import NodeContext
from hivelearn.node.events import Event, PermitChanged, TrainingEstimated, TrainingStep
from hivelearn.report.progress import Progress


@contextmanager
def shown(context: NodeContext, domain: str, steps: int) -> Iterator[None]:
    """Show how far the domain's training is, where somebody can see it."""
    with Progress(context.config.progress, f"train {domain}", steps) as bar:

        def draw(event: Event) -> None:
            match event:
                case TrainingEstimated(estimate) if estimate.domain == domain:
                    bar.say(str(estimate))
                case TrainingStep() if event.domain == domain:
                    bar.at(event.done, f"loss {event.loss:.3f}", total=event.of)
                case PermitChanged() if event.domain == domain:
                    bar.say(event.permit.why)
                case _:
                    pass

        with context.events.subscribe(draw):
            yield
