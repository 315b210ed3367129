"""What a specialist says again while it learns: the base model's own everyday answers.

Trained on one subject alone, an adapter answers every question in the manner of that
subject. 30 ISO dates at a rate of 1e-3 raised SmolLM2's loss on its own everyday answers
from .69 to 2.29 nats, and "Name three fruits." got a date. With one everyday answer in
each step it stayed at .65, and the dates came out better.

Only the answers are rehearsed. What the adapter makes of everyday *questions* is left
free to rise, because the router tells by it that a question is not the expert's.
The questions stand nowhere else in the package: what judges forgetting is other text.
"""

from typing import Final

from hivelearn.inference.chat import ANSWER, CONTENT, TEMPLATE, Example

ANSWER_TOKENS: Final = 24  # how an answer begins is what is forgotten first
QUESTIONS: Final = (
    "Hello!",
    "How are you today?",
    "What can you help me with?",
    "What is the capital of Italy?",
    "Name three animals that live in the forest.",
    "How do I make a pot of tea?",
    "Write a haiku about autumn.",
    "Explain gravity in one sentence.",
    "Who painted the Mona Lisa?",
    "How can I learn to swim?",
    "What is 7 times 8?",
    "Translate 'see you tomorrow' into Spanish.",
    "What is a computer virus?",
    "Write a Python loop that counts from 1 to 10.",
    "Which month comes after May?",
    "Tell me a very short story about a dog.",
    "Why do leaves fall in autumn?",
    "List four colours.",
    "Is water wet?",
    "Guten Morgen! Wie geht es dir?",
    "Was ist ein Vulkan?",
    "¿Cuál es la capital de España?",
    "Comment apprendre une langue rapidement ?",
    "Write a short thank-you note to a colleague.",
    "What is the opposite of big?",
    "How many days has a week?",
    "What does CPU stand for?",
    "Describe an old oak tree.",
    "Correct this sentence: he go to school by feet.",
    "Give me two ideas for a quick dinner.",
    "Say this more politely: close the door.",
    "What is the largest ocean on Earth?",
)


def answer_only(example: Example) -> Example:
    """Return ``example`` with nothing to learn but the beginning of its answer."""
    marks = bytes(TEMPLATE if mark == CONTENT else mark for mark in example.marks)
    start = marks.find(ANSWER)
    # An answer that was cut has no end of turn: what stands behind its last token is ours.
    end = start + ANSWER_TOKENS if start >= 0 else len(marks)
    return Example(example.tokens[:end], marks[:end])
