"""Sixty-four adjectives and sixty-four animals, for names that eyes can tell apart."""

from typing import Final

ADJECTIVES: Final = tuple(
    "amber ancient arctic azure bold brave bright brisk bronze calm clever cobalt coral cosmic "
    "crimson curious dapper dawn deep dusty eager early ebony fabled fair fleet frosty gentle "
    "gilded golden grand happy hardy hazel honest humble icy indigo ivory jade jolly keen kind "
    "lively lucid lunar mellow merry mild misty noble olive opal patient plain proud quick "
    "quiet rapid royal rustic sandy silver sunny".split()
)
ANIMALS: Final = tuple(
    "adder alpaca badger bat bear beaver bee bison boar bobcat camel cat cobra condor cougar "
    "crane crow deer dingo dolphin eagle eel elk falcon ferret finch fox gecko gibbon goat "
    "goose hare hawk heron hornet ibex ibis jackal jaguar koala lemur lion llama lynx magpie "
    "marmot mole moose newt ocelot otter owl panda panther puffin puma quail rabbit raven "
    "robin seal shark stoat swan".split()
)
