"""The facade: one object that asks, learns, shares and judges.

Every method is a few lines that hand over to a story or a station; read
`learn/train.py` and `merge/merge.py` for what happens.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

from hivelearn.identity import parse_name, short_name
from hivelearn.node import reputation, unvouch, validation
from hivelearn.node.ask import ask
from hivelearn.node.ask.answer import Answer
from hivelearn.node.ask.corrections import Corrections
from hivelearn.node.ask.options import AskChoices, AskOptions, sampling_of
from hivelearn.node.ask.stream import AnswerStream
from hivelearn.node.background import BackgroundRun, Schedule
from hivelearn.node.config import NodeConfig
from hivelearn.node.context import Environment, open_context
from hivelearn.node.events import EventStream
from hivelearn.node.learn import seal, train
from hivelearn.node.merge import adopt, merge, rollback
from hivelearn.node.reports import RoundReport, TrainReport, TrunkReport
from hivelearn.node.saved_model import kept_in_home
from hivelearn.node.share.network import JoinOptions, NodeNetwork, Swarm
from hivelearn.node.status import Status, read_name, read_status
from hivelearn.node.train_estimate import TrainEstimate
from hivelearn.node.trunk import grow
from hivelearn.node.trust_table import TrustTable, read_trust

if TYPE_CHECKING:
    from hivelearn.inference.engine import Engine
    from hivelearn.inference.messages import Messages
    from hivelearn.merging.recipe.recipe import MergeRecipe
    from hivelearn.patch.adapter import Adapter
    from hivelearn.patch.envelope import Patch
    from hivelearn.store.correction import Correction
    from hivelearn.store.generations import Generation
    from hivelearn.training.recipe import Recipe


class Node:
    """A local model with its corrections, its specialists and its place in the swarm.

    Args:
        model: folder, GGUF file or hub id of a causal language model, "smollm2", "nano", an
            open transformers model (then ``tokenizer`` too), or nothing: the model that the
            home remembers, else the embedded nano model.
        tokenizer: of an open model.
        config: settings; single ones may be given by name instead.
        environment: clock, sleep and sensors; tests give their own.
        settings: any field of :class:`NodeConfig`, such as ``home=...``, or option of the
            engine, such as ``device="cpu"`` and ``trust_remote_code=True``.

    Attributes:
        config: its settings.
        context: its parts, for whoever calls the functions beneath; these may change.

    Raises:
        NoModelError: the model cannot be opened.
        DiskError: the home cannot be used, with the reason.
    """

    def __init__(
        self,
        model: Any = None,
        *,
        tokenizer: Any = None,
        config: NodeConfig | None = None,
        environment: Environment | None = None,
        **settings: Any,
    ) -> None:
        validation.check(config=config)
        self.config = (config or NodeConfig()).with_settings(settings)
        if model is not None and not isinstance(model, str | Path):
            model = kept_in_home(model, tokenizer, self.config)
        self.context = open_context(model, self.config, environment)
        self.context.engine  # noqa: B018 - a bad model fails here, not in the first ask
        self._network = NodeNetwork(self.context)
        self._last: TrainReport | None = None

    def __repr__(self) -> str:
        """Tell who and where."""
        name, home = read_name(self.context), str(self.home)
        return f"Node({name}, {self.context.engine!r}, home={home!r})"

    @property
    def name(self) -> str:
        """A short name for eyes only."""
        return short_name(self.context.identity.author)

    @property
    def key(self) -> str:
        """The full public key, ``hl1…``: what others vouch for."""
        from hivelearn.identity import full_name

        return full_name(self.context.identity.author)

    @property
    def home(self) -> Path:
        """Where everything this node knows is kept."""
        return self.context.home.path

    @property
    def base(self) -> bytes:
        """The base model's 32-byte fingerprint."""
        return self.context.base

    @property
    def engine(self) -> "Engine":
        """The running model; see :class:`hivelearn.inference.engine.Engine`."""
        return self.context.engine

    @property
    def model(self) -> Any:
        """The open base model, without any adapter."""
        return self.context.engine.model  # type: ignore[attr-defined]

    @property
    def corrections(self) -> Corrections:
        """What experts said: list, forget, import, export, a dataset."""
        return Corrections(self.context)

    @property
    def events(self) -> EventStream:
        """What happens here from now on: ``with node.events.subscribe(print): ...``.

        The kinds of events are the records of :mod:`hivelearn.node.events`.
        """
        return self.context.events

    @property
    def last_training(self) -> TrainReport | None:
        """What the last `train` of this object measured."""
        return self._last

    def ask(
        self,
        prompt: "str | Messages",
        domain: str | None = None,
        *,
        experts: Sequence[str] | None = None,
        **choices: Unpack[AskChoices],
    ) -> Answer:
        """Answer one prompt.

        Args:
            prompt: text, or chat messages that end with the user's words.
            domain: if stated, that domain's specialist answers; else the router decides.
            experts: ids to choose from, the sandbox included.
            choices: ``max_new_tokens`` (the configuration's by default), ``temperature`` (0,
                the default, is greedy), ``top_p``, ``top_k``, ``stop`` (text, or several,
                before which the answer ends) and ``seed``; the caller's random state is not
                touched.
        """
        options = self._options(domain, experts, choices)
        return ask.ask(self.context, [prompt], options)[0]

    def ask_many(
        self,
        prompts: "Sequence[str | Messages]",
        domain: str | None = None,
        *,
        experts: Sequence[str] | None = None,
        **choices: Unpack[AskChoices],
    ) -> list[Answer]:
        """Answer many prompts in batches; see :meth:`ask`."""
        validation.check(prompts=prompts)
        return ask.ask(self.context, list(prompts), self._options(domain, experts, choices))

    def stream(
        self,
        prompt: "str | Messages",
        domain: str | None = None,
        *,
        experts: Sequence[str] | None = None,
        **choices: Unpack[AskChoices],
    ) -> AnswerStream:
        """Return the answer's text piece by piece, as it comes; see :meth:`ask`.

        Its ``answer`` is the whole answer, and its ``close()`` ends the generation.
        """
        return AnswerStream(self.context, prompt, self._options(domain, experts, choices))

    def score(
        self, pairs: "Sequence[tuple[str | Messages, str]]", domain: str | None = None
    ) -> list[float]:
        """Return the loss of each (prompt, answer) as served, mean nats per answer token."""
        validation.check(pairs=pairs)
        return ask.score(self.context, list(pairs), self._options(domain, None, {}))

    def _options(
        self, domain: str | None, experts: Sequence[str] | None, choices: AskChoices
    ) -> AskOptions:
        validation.check(experts=experts)
        sampling = sampling_of(choices, self.config.max_new_tokens)
        named = (experts,) if isinstance(experts, str) else tuple(experts or ())
        return AskOptions(sampling, domain, named)

    def correct(
        self,
        prompt: "str | Messages",
        right: str,
        *,
        domain: str,
        subject: str | None = None,
        wrong: str | None = None,
    ) -> "Correction":
        """Journal a correction without asking first; see :meth:`Answer.correct`."""
        return ask.correct(self.context, prompt, right, domain=domain, subject=subject, wrong=wrong)

    def train(self, domain: str, recipe: "Recipe | None" = None, **mistaken: Any) -> "Patch":
        """Train on the domain's corrections, judge, seal, and serve unless it measures no better.

        Obeys heat and battery; checkpoints; goes on after an interruption bit for bit.
        ``node.last_training`` holds the figures.

        Args:
            domain: whose corrections.
            recipe: how; without one, as the configuration says, and what that leaves open
                follows the corrections.
            mistaken: nothing; a recipe's settings stand in a recipe.

        Returns:
            The sealed patch.
        """
        validation.check_train(recipe, mistaken)
        how = recipe or self.config.recipe
        patch, self._last = train.train(self.context, domain, how, self.config.safety)
        assert patch is not None, "only who gives a sleep that ends can stop it before its end"
        return patch

    def estimate(
        self, domain: str, recipe: "Recipe | None" = None, **mistaken: Any
    ) -> TrainEstimate:
        """Return what `train` would cost here: time and memory, from one small pass of it.

        Takes a second or two with a small model; the first time also asks the base model
        what it will rehearse. A paused training is told as what is left of it.
        """
        validation.check_train(recipe, mistaken)
        return train.estimated(self.context, domain, recipe or self.config.recipe)

    def seal(self, adapter: "Adapter", *, domain: str, licence: str = "") -> "Patch":
        """Make a signed patch of an adapter from elsewhere; it does not serve yet.

        ``node.adopt(patch)`` serves it here, ``swarm.publish(patch)`` offers it.
        """
        validation.check(adapter=adapter, licence=licence)
        return seal.seal(self.context, adapter, domain, licence)

    def join(
        self,
        *domains: str,
        fabric: str | None = None,
        secret: str | None = None,
        **options: Any,
    ) -> Swarm:
        """Meet others who work on ``domains`` with the same base model.

        Args:
            domains: all that one wants to hear of, own ones and others'.
            fabric: "lan" (the default), or "memory" inside one process.
            secret: closes the topics to those who do not know it.
            options: the fabric's own. Those of "lan" are ``peers`` (addresses, ``host:port``
                or ``hl1…@host:port``; a second join adds its own), ``listen`` (``host:port``;
                any free port by default) and ``discover`` (by zeroconf; yes by default).

        Returns:
            A handle with publish, sync, peers, close; use it in a ``with`` block.
        """
        how = options | {"fabric": fabric, "secret": secret}
        return self._network.join(domains, JoinOptions.of(how))

    def vouch(self, key: str, note: str = "") -> None:
        """Say that one knows the owner of ``key`` (the full ``hl1…`` key); stays on this device."""
        validation.check(note=note)
        reputation.vouch(self.context, parse_name(key), note, self._network.met())

    def unvouch(self, key: str) -> "tuple[Generation, ...]":
        """Withdraw a vouch; experts that nobody speaks for now stop serving at once.

        They are judged again at the next merge; ``node.rollback(domain)`` serves them again.

        Returns:
            What serves now, for each domain that lost an expert.
        """
        return unvouch.unvouch(self.context, parse_name(key))

    @property
    def trust(self) -> TrustTable:
        """Whom this node believes, how much and why."""
        return read_trust(self.context)

    def merge(
        self, domain: str, *, recipe: "MergeRecipe | None" = None, adopt: bool = True
    ) -> RoundReport:
        """Judge what rests here: admit or merge it; a merge serves only if it measures better."""
        validation.check(merge_recipe=recipe, adopt=adopt)
        return merge.merge(self.context, domain, recipe, adopt=adopt)

    def adopt(self, what: "RoundReport | Patch") -> RoundReport:
        """Serve a candidate of merge(adopt=False), or an own patch unless it measures no better."""
        validation.check(what=what)
        if isinstance(what, RoundReport):
            return adopt.adopt_report(self.context, what)
        return adopt.adopt_patch(self.context, what)

    def rollback(self, domain: str) -> "Generation":
        """Serve the domain's previous state again."""
        return rollback.rollback(self.context, domain)

    def grow(self, domain: str) -> TrunkReport:
        """Take one turn in the rounds of those who teach ``domain``, in the swarm that was joined.

        Goes on from the trunk that all have, trains a few steps onto it with the own
        corrections, and tells that part; when the others' parts are here, they become the next
        trunk together. It serves if it measures better than what serves. :meth:`live` takes
        turns by itself.
        """
        company = grow.company_in(self._network.shares, domain)
        return grow.grow(self.context, domain, company, self.config.safety)

    def live(self, *domains: str, hours: str | None = None, **joining: Any) -> BackgroundRun:
        """Do all of it in the background: join, sync, merge and train while the device permits.

        Where others teach the same domain, it takes turns with them on one trunk (:meth:`grow`)
        and trains by itself when that rests.

        Args:
            domains: none means every domain that has corrections or a generation.
            hours: such as "22:00-06:00", local time; None is any time.
            joining: as for :meth:`join`.

        Returns:
            A handle whose ``stop()`` (or the end of its ``with`` block) ends it cleanly.
        """
        how, schedule = JoinOptions.of(joining), Schedule(tuple(domains), hours)
        return BackgroundRun(self.context, schedule, self._network, how)

    def status(self) -> Status:
        """Return how everything stands; reads only."""
        return read_status(self.context)

    def close(self) -> None:
        """Leave the swarm. What was learnt is on disk already."""
        self._network.close()

    def __enter__(self) -> Self:
        """Use the node in a block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()
