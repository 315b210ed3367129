"""The nano model's own small tasks: questions whose answers code can check.

A task is one function from a random stream to (question, answer). Together they teach
what any subject is made of: copying, tables looked up digit by digit, fields taken apart
and put together, words written at full length. None of them is a subject of the
demonstration: no Roman numeral, no ISO date, no clock. That is the headroom an expert fills.

The split into training and held-out questions is a hash of the question, so it is the
same for every seed and on every machine. No torch here: routers and tests read this file.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from importlib.resources import files
from string import ascii_letters, ascii_lowercase
from typing import NamedTuple

from hivelearn.inference.nano import wordlists

HELD_OUT_IN = 16  # one question in so many is never trained on


class Item(NamedTuple):
    """One question of a task, with the only answer that counts as right."""

    question: str
    answer: str
    task: str


Drawn = tuple[str, str]  # (question, answer)
Task = Callable[[random.Random], Drawn]


_CODAS = ("", "", "n", "r", "s")  # how a syllable ends


def _number(rng: random.Random, digits_max: int = 4) -> int:
    """Draw a number whose count of digits, not its size, is uniform."""
    digits = rng.randint(1, digits_max)
    return rng.randrange(10 ** (digits - 1), 10**digits)


def _word(rng: random.Random) -> str:
    """Draw a word: one time in two a real one, else syllables that nobody has memorised."""
    if rng.random() < 0.5:
        return rng.choice(wordlists.WORDS)
    return "".join(
        rng.choice("bcdfghjklmnprstvwxyz") + rng.choice("aeiou") + rng.choice(_CODAS)
        for _ in range(rng.randint(1, 3))
    )


def _token(rng: random.Random) -> str:
    """Draw a word, a number, or a number with leading zeros."""
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(wordlists.MONTHS) if kind < 0.05 else _word(rng)
    return str(_number(rng)) if kind < 0.8 else f"{_number(rng, 2):0{rng.randint(2, 4)}d}"


def _phrase(rng: random.Random, *wordings: str, **values: object) -> str:
    return rng.choice(wordings).format(**values)


def _repeat(rng: random.Random) -> Drawn:
    glue = rng.choice((" ", " ", "-", "/", ":", ", ", "."))
    text = glue.join(_token(rng) for _ in range(rng.randint(1, 4)))
    return _phrase(rng, "Repeat: {x}", "Say {x}", "Copy this: {x}", x=text), text


def _capitals(rng: random.Random) -> Drawn:
    word = _word(rng)
    if rng.random() < 0.4:
        wordings = "Write {x} in small letters.", "{x} in small letters?"
        return _phrase(rng, *wordings, x=word.upper()), word
    return _phrase(rng, "Write {x} in capitals.", "{x} in capitals?", x=word), word.upper()


def _spell(rng: random.Random) -> Drawn:
    token = _token(rng)[:7]
    if rng.random() < 0.3:
        return _phrase(rng, "Put together: {x}", x="-".join(token)), token
    return _phrase(rng, "Spell {x}.", "How do you spell {x}?", x=token), "-".join(token)


def _swap(rng: random.Random) -> Drawn:
    glue, a, b = rng.choice((" ", "-", "/", ":", ".")), _token(rng), _token(rng)
    return _phrase(rng, "Swap {x}", "Swap the two parts of {x}", x=a + glue + b), b + glue + a


def _reverse(rng: random.Random) -> Drawn:
    token = _token(rng)[:5]
    return _phrase(rng, "Reverse {x}.", "Write {x} backwards.", x=token), token[::-1]


def _neighbour(rng: random.Random) -> Drawn:
    number, step = _number(rng), rng.choice((1, -1))
    side = "after" if step > 0 else "before"
    wordings = "What number comes {side} {n}?", "Which number is just {side} {n}?"
    return _phrase(rng, *wordings, side=side, n=number), str(number + step)


def _digits_as_words(rng: random.Random) -> Drawn:
    digits = str(_number(rng, 5))
    words = " ".join(wordlists.DIGITS[int(d)] for d in digits)
    if rng.random() < 0.5:
        return _phrase(rng, "Write with digits: {x}", "{x} in digits?", x=words), digits
    return _phrase(rng, "Read out the digits of {x}.", "Say {x} digit by digit.", x=digits), words


def _month(rng: random.Random) -> Drawn:
    i = rng.randrange(12)
    month = wordlists.MONTHS[i]
    if rng.random() < 0.4:
        return _phrase(rng, "Which month is number {i}?", "Name month {i}.", i=i + 1), month
    wordings = "What number is {m}?", "Which month of the year is {m}?"
    return _phrase(rng, *wordings, m=month), str(i + 1)


def _after_in_row(rng: random.Random) -> Drawn:
    row = rng.choice((wordlists.MONTHS, wordlists.DAYS, ascii_lowercase))
    i, step = rng.randrange(len(row)), rng.choice((1, -1))
    side = "after" if step > 0 else "before"
    question = _phrase(rng, "What comes {s} {x}?", "Name what is {s} {x}.", s=side, x=row[i])
    return question, row[(i + step) % len(row)]


def _pad(rng: random.Random) -> Drawn:
    number, width = _number(rng, 3), rng.randint(2, 4)
    padded = f"{number:0{width}d}"
    if rng.random() < 0.3:
        return _phrase(rng, "Drop the leading zeros of {x}.", x=padded), str(number)
    return _phrase(rng, "Pad {n} to {w} digits.", "{n} with {w} digits?", n=number, w=width), padded


def _pick(rng: random.Random) -> Drawn:
    glue = rng.choice((" ", " ", "-", "/", ":", ", "))
    parts = [_token(rng) for _ in range(rng.randint(2, 4))]
    i = rng.randrange(len(parts))
    shown = glue.join(parts)
    return _phrase(rng, "Part {i} of {x}?", "Pick number {i}: {x}", i=i + 1, x=shown), parts[i]


def _glue(rng: random.Random) -> Drawn:
    parts = [_token(rng) for _ in range(rng.randint(2, 4))]
    old, new = rng.sample((" ", "-", "/", ":", ", ", " + ", "."), 2)
    shown = new.strip() or "spaces"
    wordings = "Join {x} with {g}", "Write {x} with {g} between."
    return _phrase(rng, *wordings, x=old.join(parts), g=shown), new.join(parts)


def _compare(rng: random.Random) -> Drawn:
    a = _number(rng)
    b = a + rng.choice((-1, 1)) * rng.randint(1, 9) if rng.random() < 0.4 else _number(rng)
    a, b = max(a, 0), max(b, 0) + (a == b)
    word, answer = rng.choice((("larger", max(a, b)), ("smaller", min(a, b))))
    wordings = "Which is {w}, {a} or {b}?", "Of {a} and {b}, which is {w}?"
    return _phrase(rng, *wordings, w=word, a=a, b=b), str(answer)


def _arithmetic(rng: random.Random) -> Drawn:
    a, b = rng.randrange(0, 60), rng.randrange(0, 20)
    if rng.random() < 0.5:
        return _phrase(rng, "What is {a} plus {b}?", "{a} plus {b}?", a=a, b=b), str(a + b)
    a = max(a, b)
    return _phrase(rng, "What is {a} minus {b}?", "{a} minus {b}?", a=a, b=b), str(a - b)


def _place_values(rng: random.Random) -> Drawn:
    digits = str(_number(rng))
    if rng.random() < 0.5:
        parts = [d + "0" * (len(digits) - i - 1) for i, d in enumerate(digits) if d != "0"]
        return _phrase(rng, "Take {n} apart.", "{n} as a sum?", n=digits), " + ".join(parts)
    names = "thousands", "hundreds", "tens", "ones"
    i = rng.randrange(len(digits))
    name = names[4 - len(digits) + i]
    wordings = "How many {x} has {n}?", "Name the {x} of {n}."
    return _phrase(rng, *wordings, x=name, n=digits), digits[i]


def _times(rng: random.Random) -> Drawn:
    text, n = _word(rng)[:4], rng.randint(1, 4)
    if rng.random() < 0.5:
        letters = rng.sample(ascii_letters, rng.randint(1, 4))
        counts = [rng.randint(0, 4) for _ in letters]
        recipe = " ".join(f"{n}{letter}" for n, letter in zip(counts, letters, strict=True))
        written = "".join(letter * n for n, letter in zip(counts, letters, strict=True))
        return _phrase(rng, "Write out {x}", x=recipe), written or "nothing"
    return _phrase(rng, "Write {x} {n} times.", "{n} times {x}?", x=text, n=n), text * n


def _replace(rng: random.Random) -> Drawn:
    word = _word(rng)
    old, new = rng.choice(word), rng.choice(ascii_lowercase)
    question = _phrase(rng, "Replace {a} with {b} in {x}.", a=old, b=new, x=word)
    return question, word.replace(old, new)


def _reorder(rng: random.Random) -> Drawn:
    n, glue = rng.randint(2, 4), rng.choice((" ", "-", "/", ":"))
    parts, order = [_token(rng) for _ in range(n)], rng.sample(range(n), n)
    asked = " ".join(str(i + 1) for i in order)
    return f"Order {asked}: {glue.join(parts)}", glue.join(parts[i] for i in order)


def _code(rng: random.Random) -> Drawn:
    signs = rng.sample("0123456789abcdef", rng.randint(2, 4))
    codes = ["".join(rng.choices("klmnopqrsTUVWXYZ", k=rng.randint(1, 3))) for _ in signs]
    text = rng.choices(range(len(signs)), k=rng.randint(1, 4))
    key = " ".join(f"{s}={c}" for s, c in zip(signs, codes, strict=True))
    return f"With {key} write {''.join(signs[i] for i in text)}", "".join(codes[i] for i in text)


def _sort(rng: random.Random) -> Drawn:
    numbers = rng.sample(range(1, 100), rng.randint(2, 4))
    shown, answer = (" ".join(map(str, row)) for row in (numbers, sorted(numbers)))
    return _phrase(rng, "Sort {x}", "Put in order: {x}", x=shown), answer


def _ends(rng: random.Random) -> Drawn:
    token = _token(rng)
    name, answer = rng.choice((("first", token[0]), ("last", token[-1])))
    if rng.random() < 0.3:
        wordings = "How long is {x}?", "How many letters has {x}?"
        return _phrase(rng, *wordings, x=token), str(len(token))
    wordings = "What is the {e} sign of {x}?", "{x}: the {e} sign?"
    return _phrase(rng, *wordings, e=name, x=token), answer


TASKS: dict[str, Task] = {
    "repeat": _repeat, "capitals": _capitals, "spell": _spell, "swap": _swap, "reverse": _reverse,
    "neighbour": _neighbour, "digits-as-words": _digits_as_words, "month": _month,
    "after-in-row": _after_in_row, "pad": _pad, "pick": _pick, "glue": _glue, "compare": _compare,
    "arithmetic": _arithmetic, "place-values": _place_values, "times": _times,
    "replace": _replace, "reorder": _reorder, "code": _code, "sort": _sort, "ends": _ends,
}  # fmt: skip


def is_held_out(question: str) -> bool:
    """Say whether the base never trains on ``question``; one in ``HELD_OUT_IN`` is kept back."""
    return hashlib.sha256(question.encode()).digest()[0] % HELD_OUT_IN == 0


def items(seed: int, *, held_out: bool) -> Iterator[Item]:
    """Yield items of one side of the split without end, each task as often as any other."""
    rng = random.Random(f"nano tasks {seed}")
    names = tuple(TASKS)
    while True:
        name = rng.choice(names)
        question, answer = TASKS[name](rng)
        if is_held_out(question) == held_out:
            yield Item(question, answer, name)


def held_out(n: int, seed: int = 0) -> list[Item]:
    """Return ``n`` different held-out items, to measure what the base still can."""
    found: dict[str, Item] = {}
    for item in items(seed, held_out=True):
        found.setdefault(item.question, item)
        if len(found) == n:
            break
    return list(found.values())


def general_prompts(n: int, seed: int) -> list[str]:
    """Return ``n`` different prompts that no expert should claim: questions of ours and prose.

    A router lowers an expert's ceiling below that expert's losses on them. The questions are
    of the side the base trained on, so the held-out side stays free for measuring; one in
    three prompts is a sentence of ``general.txt`` (from Python's documentation).
    """
    prose = (files(__package__) / "general.txt").read_text(encoding="utf-8").splitlines()
    rng = random.Random(f"nano general {seed}")
    found = dict.fromkeys(rng.sample(prose, min(n // 3, len(prose))))
    for item in items(seed, held_out=False):
        if len(found) >= n:
            break
        found.setdefault(item.question)
    return list(found)
