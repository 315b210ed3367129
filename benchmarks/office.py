"""Three office skills with one right answer each, and sixty questions about anything else.

A skill is learnt from corrections and asked about values that occur in none of
them: numbers, dates, times and places are drawn from spaces far larger than both
sets, and no drawn value comes twice. The sixty general questions are those that a
specialist must leave to the base model; a few lie close to a skill on purpose.
"""

import random
from collections.abc import Callable
from datetime import date, timedelta
from typing import Final, NamedTuple

MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
DAYS: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
CITIES: Final = (
    "Oslo", "Lyon", "Porto", "Turin", "Ghent", "Malmo", "Basel", "Cork", "Riga", "Graz",
    "Bergen", "Nantes", "Faro", "Parma", "Bruges", "Lund", "Bern", "Galway", "Tartu", "Linz",
)  # fmt: skip
TABLES: Final = {"orders": "total", "invoices": "amount", "tickets": "age", "shipments": "weight"}
PAPERS: Final = ("minutes", "contract", "budget", "report", "invoice", "agenda")


class Pair(NamedTuple):
    """A question with the only answer that counts as right."""

    prompt: str
    answer: str


def _cron(rng: random.Random) -> Pair:
    minute, hour = rng.randrange(60), rng.randrange(24)
    at = f"{hour:02d}:{minute:02d}"
    if rng.random() < 0.5:  # noqa: PLR2004 - half of them by weekday
        day = rng.randrange(7)
        return Pair(f"every {DAYS[day]} at {at}", f"{minute} {hour} * * {day}")
    day = rng.randint(1, 28)
    return Pair(f"on day {day} of each month at {at}", f"{minute} {hour} {day} * *")


def _sql(rng: random.Random) -> Pair:
    table, column = rng.choice(list(TABLES.items()))
    number, city = rng.randint(10, 9_999), rng.choice(CITIES)
    asked = f"{table} from {city} with {column} above {number}"
    where = f"city = '{city}' AND {column} > {number}"
    return Pair(asked, f"SELECT * FROM {table} WHERE {where};")  # noqa: S608 - text, never run


def _filing(rng: random.Random) -> Pair:
    day = date(1990, 1, 1) + timedelta(days=rng.randrange(16_000))
    paper, city = rng.choice(PAPERS), rng.choice(CITIES)
    asked = f"{paper} of the {city} office, {day.day} {MONTHS[day.month - 1]} {day.year}"
    return Pair(asked, f"{day.isoformat()}-{city.lower()}-{paper}.pdf")


class Skill(NamedTuple):
    """What one expert teaches."""

    name: str
    wordings: tuple[str, ...]  # each with {x}
    draw: Callable[[random.Random], Pair]  # the value as the question and as the answer writes it


SKILLS: Final = (
    Skill("cron", ("Cron line for {x}?", "When a job runs {x}, what is its cron line?"), _cron),
    Skill("sql", ("SQL for {x}?", "Which query lists {x}?"), _sql),
    Skill("filing", ("File name for the {x}?", "How do we name the {x}?"), _filing),
)


def drawn(skill: Skill, seed: int, corrections: int, questions: int) -> tuple[list[Pair], ...]:
    """Return the expert's corrections and the questions; no value occurs twice in either."""
    rng = random.Random(f"{skill.name} {seed}")
    values: dict[str, Pair] = {}
    while len(values) < corrections + questions:
        pair = skill.draw(rng)
        values.setdefault(pair.prompt, pair)
    pairs = [
        Pair(rng.choice(skill.wordings).format(x=pair.prompt), pair.answer)
        for pair in values.values()
    ]
    return pairs[:corrections], pairs[corrections:]


# Facts, explanations, instructions, writing, sums, code, small talk, lists; then German and French.
GENERAL: Final = (
    "Which river flows through Vienna?",
    "Who wrote the opera The Magic Flute?",
    "What is the largest planet of the solar system?",
    "In which year did people first land on the moon?",
    "What is the chemical symbol of gold?",
    "How many legs does a spider have?",
    "What language is spoken in Brazil?",
    "Which desert covers much of northern Africa?",
    "Why is sea water salty?",
    "How does a refrigerator keep food cold?",
    "What causes the tides?",
    "Explain what inflation means in simple words.",
    "What is the difference between weather and climate?",
    "Why do we dream?",
    "How do vaccines work?",
    "What is photosynthesis?",
    "How do I tie a bow tie?",
    "How can I get a red wine stain out of a shirt?",
    "Give me three tips for sleeping better.",
    "How do I make pancakes?",
    "How do I keep a house plant alive in winter?",
    "How can I learn to play the guitar?",
    "How do I change a flat tyre on a bicycle?",
    "Write a two-line poem about the moon.",
    "Write a birthday wish for my grandmother.",
    "Write a slogan for a bakery.",
    "Tell me a short story about a lighthouse keeper.",
    "Describe a rainy street in one sentence.",
    "Write an apology for being late.",
    "What is 17 plus 25?",
    "What is half of 90?",
    "If three pens cost 6 euros, what do ten pens cost?",
    "What is the square root of 144?",
    "Write a Python loop that sums a list of numbers.",
    "What does the HTML tag <p> do?",
    "How do I print a line in JavaScript?",
    "What is a database?",
    "What is SQL used for?",
    "What does a cron job do?",
    "How should I organise the files on my computer?",
    "Do you have a favourite season?",
    "What do you like to talk about?",
    "Tell me a joke.",
    "Good morning! Any advice for a long day?",
    "Thank you for your help.",
    "Name five vegetables that grow underground.",
    "List four European capitals.",
    "Name three musical instruments with strings.",
    "List the colours of the rainbow.",
    "Name two famous scientists.",
    "Was ist die Hauptstadt von Italien?",
    "Wie koche ich ein weiches Ei?",
    "Schreibe einen kurzen Satz über den Frühling.",
    "Warum ist der Himmel blau?",
    "Nenne drei Obstsorten.",
    "Quelle est la capitale de la Belgique ?",
    "Comment faire une bonne soupe ?",
    "Écris une phrase sur la mer.",
    "Pourquoi les chats ronronnent-ils ?",
    "Nomme trois pays d'Afrique.",
)
