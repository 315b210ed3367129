"""The nano model's card, filled with the facts of one training run."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from textwrap import dedent

# System lines that occur in training, so that a system message is no surprise.
SYSTEM_LINES = (
    "You are a helpful assistant.",
    "Answer briefly.",
    "You answer with the result alone.",
)


def text(facts: Mapping[str, object]) -> str:
    """Return the card as Markdown.

    Args:
        facts: ``steps``, ``seed``, ``cpu_s``, ``parameters``, ``bytes`` of the weights,
            ``exact`` (share of held-out questions right), ``questions`` (how many),
            ``tasks`` (task name to share right), ``torch`` and ``transformers`` versions.
    """
    shares = facts["tasks"]
    assert isinstance(shares, Mapping)
    rows = "\n".join(f"| {name} | {100 * share:.0f} |" for name, share in sorted(shares.items()))
    return _FORM.format(**facts, python=platform.python_version(), rows=rows)


_FORM = dedent(
    """\
    ---
    license: apache-2.0
    language: en
    library_name: transformers
    ---
    # hivelearn nano

    The model that `hl.Node()` opens when it is given none: a `LlamaForCausalLM` of {parameters:,}
    parameters ({bytes:,} bytes, bfloat16) over bytes. It is small enough to ship, to train in
    a minute and to fail honestly: it speaks a language of small tasks and knows no subject.

    ## What it can do

    Short questions about the text in the question itself: repeat, spell, reverse, take apart, put
    together, pick, pad, compare, sort, count on, look up a month. Of {questions} held-out questions
    (one in sixteen is never trained on, chosen by its hash) it answers **{exact:.1%}** exactly:

    | task | % exact |
    |---|---|
    {rows}

    ## What it cannot do

    It has no knowledge of the world, does not reason and does not hold a conversation beyond two
    turns. It was trained on rows of at most 200 bytes; longer text works and gets worse. Roman
    numerals, ISO dates and the 12-hour clock were kept from it on purpose: they are what the
    demonstration teaches. It is a test piece and a default that always works, not an assistant.

    ## Texts and their licences

    - Questions and answers drawn by `hivelearn/inference/nano/tasks.py`: part of hivelearn,
      Apache-2.0.
    - Python's licence text, the topics of `help()` and docstrings of its standard library, read
      from Python {python} by `texts.py`: Python Software Foundation License 2, © Python
      Software Foundation. Paragraphs that touch the demonstration's subjects are left out.
    - `general.txt`: 160 sentences of the same documentation, same licence, shipped for routers.

    Nothing else, nothing from the network, nothing from users. The weights: Licence Apache-2.0.

    ## Training, and how to repeat it

        python -m hivelearn.inference.nano.pretrain --out DIR

    {steps} steps of Muon and AdamW, seed {seed}, one thread, {cpu_s:,} CPU seconds on a 2-core
    virtual machine, with Python {python}, torch {torch} and transformers {transformers}. Training
    begins from weights in which two heads can already copy (`head_start.py`); without them 2,400
    steps were not enough to learn it. The same machine and versions give the same bytes; others
    give a model as good, with other bytes.

    ## Use

        from transformers import AutoModelForCausalLM, AutoTokenizer

    Template: `<|user|>…<|end|><|assistant|>…<|end|>`, system and several turns allowed. Weights are
    stored in bfloat16; pass `dtype="float32"` to train.
    """
)
