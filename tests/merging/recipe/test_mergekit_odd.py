"""A file from a stranger: whatever stands in it, it is read or refused, soon and in few words."""

import datetime as dt
import os
import tracemalloc

import pytest
import yaml

from hivelearn.merging.errors import MergeError
from hivelearn.merging.recipe.mergekit import parsed, read
from hivelearn.merging.recipe.yaml import EVENTS_MAX

BOMB = "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]\n" for n in range(1, 12))
BOMB = "x0: &x0 [lol, lol]\n" + BOMB
MERGED = "x0: &x0 {a: 1}\n" + "".join(
    f"x{n}: &x{n} {{<<: [{', '.join([f'*x{n - 1}'] * 10)}]}}\n" for n in range(1, 12)
)


@pytest.mark.parametrize("text", [BOMB, MERGED])
def test_a_file_that_aliases_blow_up_is_refused_at_once(tmp_path, text):
    file = tmp_path / "merge.yml"
    file.write_text(text + "merge_method: *x11\n")
    tracemalloc.start()
    with pytest.raises(MergeError, match="aliases"):
        read(file)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_a_file_that_is_too_long_is_refused_unread(tmp_path):
    file = tmp_path / "merge.yml"
    file.write_text("#" * (1 << 20) + "\n")
    with pytest.raises(MergeError, match="larger than 262144 bytes"):
        read(file)


DEAR = {
    "a number of 60 base 60": "merge_method: ties\nweight: " + "1:" * 3_000 + "1.0\n",
    "a number of too many digits": "x: " + "9" * 5_000 + "\n",
    "more pairs than any merge has": "".join(f"{n}: 1\n" for n in range(5_000)),
    "an infinity of base 60": "weight: " + "1:" * 200 + "1.0\n",
}


@pytest.mark.parametrize("text", DEAR.values(), ids=DEAR.keys())
def test_a_file_that_takes_long_to_understand_is_refused(tmp_path, text):
    file = tmp_path / "merge.yml"
    file.write_text(text)
    with pytest.raises(MergeError, match="is not YAML"):
        read(file)


KIB256 = 1 << 18
LONG = {
    "a long list": "- a\n" * (KIB256 // 4),
    "a long flow": "[" + "a," * (KIB256 // 2 - 2) + "]",
    "many mappings": "- {a: 1}\n" * (KIB256 // 9),
    "many anchors": "".join(f"- &a{n} b\n" for n in range(KIB256 // 12)),
    "many documents": "---\n" * (KIB256 // 4),
    "nested lists": "[" * KIB256,
    "nested dashes": "- " * (KIB256 // 2),
    "nested keys": "? " * (KIB256 // 2),
    "nested blocks": "".join(" " * n + "a:\n" for n in range(700)),
    "one word": "a" * KIB256,
    "a word of many": "a " * (KIB256 // 2),
    "a quoted word": '"' + "a" * (KIB256 - 2) + '"',
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG.keys())
def test_a_file_is_counted_and_no_more_of_it_understood_than_any_has(tmp_path, text, monkeypatch):
    counted = []
    parse = yaml.parse

    def counting(*given, **named):
        for event in parse(*given, **named):
            counted.append(event)
            yield event

    monkeypatch.setattr(yaml, "parse", counting)
    monkeypatch.setattr(yaml.CSafeLoader, "get_single_node", lambda _: pytest.fail("composed"))
    file = tmp_path / "merge.yml"
    file.write_text(text)
    with pytest.raises(MergeError, match="is not YAML"):
        read(file)
    assert len(counted) <= EVENTS_MAX + 1


SAVED = {
    "UTF-8": ("utf-8", ""),
    "UTF-8 with a mark": ("utf-8-sig", ""),
    "UTF-16": ("utf-16", ""),
    "UTF-16, little end first": ("utf-16-le", "\ufeff"),
    "UTF-16, big end first": ("utf-16-be", "\ufeff"),
    "UTF-16 without a mark": ("utf-16-le", ""),
    "UTF-16, big end first, without": ("utf-16-be", ""),
}


@pytest.mark.parametrize(("encoding", "mark"), SAVED.values(), ids=SAVED.keys())
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_a_file_is_read_however_an_editor_saved_it(tmp_path, encoding, mark, end):
    lines = "merge_method: linear", "models:", "- model: Größe", "  parameters: {weight: 1}", ""
    (tmp_path / "Größe").mkdir()
    file = tmp_path / "merge.yml"
    file.write_bytes((mark + end.join(lines)).encode(encoding))
    assert read(file).sources == (str(tmp_path / "Größe"),)


def test_a_file_in_no_unicode_is_refused_with_what_to_do(tmp_path):
    file = tmp_path / "merge.yml"
    file.write_bytes("merge_method: linear\nmodels: [{model: Größe}]".encode("latin-1"))
    with pytest.raises(MergeError, match="neither UTF-8 nor UTF-16") as caught:
        read(file)
    assert "UTF-8" in caught.value.remedy


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "merge.yml")
    with pytest.raises(MergeError, match="is no file"):
        read(tmp_path / "merge.yml")


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_is_refused(tmp_path, text):
    file = tmp_path / "merge.yml"
    file.write_text(text)
    with pytest.raises(MergeError, match="it is no mapping"):
        read(file)


def test_a_few_aliases_are_welcome(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    file = tmp_path / "merge.yml"
    file.write_text(
        "merge_method: ties\nmodels:\n- {model: a, parameters: &p {weight: 2}}\n"
        "- {model: b, parameters: *p}\n"
    )
    assert read(file).recipe.weights == (2.0, 2.0)


def bomb():
    value = ["lol"] * 10
    for _ in range(12):
        value = [value] * 10
    return value


ODD = (
    None, True, "", "x", "\0", "x" * 5_000, [], [[]], [True], [None], {}, {"value": []}, {1: 2},
    [{"value": {"value": 1}}], [{"filter": [], "value": 1}], [{"filter": {}, "value": 1}],
    10**400, 1 << 80_000, -1, float("nan"), float("inf"), 1e300, dt.date(2001, 1, 1), b"x",
    {"a"}, bomb(), {"value": bomb()}, [{"filter": bomb(), "value": 1}], {"x" * 5_000: bomb()},
)  # fmt: skip
METHODS = (
    "linear", "task_arithmetic", "slerp", "nuslerp", "karcher", "ties", "della", "breadcrumbs",
    "sce", "core_ties", "krum",
)  # fmt: skip
TOP = ("merge_method", "base_model", "models", "parameters", "dtype", "out_dtype", "slices")
PARAMETERS = (
    "weight", "density", "lambda", "normalize", "rescale", "t", "select_topk", "epsilon", "gamma",
    "max_iter", "int8_mask", "nuslerp_flatten", "normalize_weights", "eps", "hostile",
)  # fmt: skip


def odd_configs(method, odd):
    """A good configuration with one odd value in it, at every place in turn."""
    good = {"merge_method": method, "base_model": "b", "dtype": "float32"}
    models = [{"model": "a", "parameters": {"weight": 1}}, {"model": "b"}]
    for key in TOP:
        yield {**good, "models": models, key: odd}
    yield {**good, "slices": odd}
    yield {**good, "slices": [odd]}
    yield {**good, "slices": [{"sources": odd}]}
    yield {**good, "slices": [{"sources": [{"model": "a", "layer_range": odd}]}]}
    yield {**good, "slices": [{"sources": [{"model": odd, "layer_range": [0, 9]}]}]}
    yield {**good, "models": [{"model": {"model": odd}}]}
    yield {**good, "models": [{"model": {"model": "x", "lora": odd}}]}
    yield {**good, "models": models, "x" * 5_000: odd}
    yield {**good, "models": [odd]}
    for key in ("model", "parameters", "lora"):
        yield {**good, "models": [{"model": "a", key: odd}, {"model": "b"}]}
    for key in PARAMETERS:
        yield {**good, "models": models, "parameters": {key: odd}}
        for place in ("a", "b"):
            own = [{**row, "parameters": {key: odd}} if row["model"] == place else row
                   for row in models]  # fmt: skip
            yield {**good, "models": own, "parameters": {"weight": 1}}


@pytest.mark.parametrize("method", METHODS)
def test_whatever_stands_in_a_file_is_read_or_refused_in_few_words(method):
    for odd in ODD:
        for config in odd_configs(method, odd):
            try:
                parsed(config)
            except MergeError as error:
                assert len(str(error)) < 1_000  # noqa: PT017 - it may as well be read
