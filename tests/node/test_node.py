"""The facade: what a user types, and what comes back."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import hivelearn as hl
from hivelearn.errors import UsageError
from hivelearn.inference.completion import Completion
from hivelearn.inference.errors import NoModelError
from hivelearn.inference.loading import quiet
from hivelearn.inference.resident_options import ResidentOptions
from hivelearn.node.config import NodeConfig
from hivelearn.store.errors import CorrectionError, ImportLineError, NotAHomeError


def test_an_answer_is_corrected_and_the_correction_is_kept(make):
    node = make()
    answer = node.ask("Write 14 in Roman numerals.", max_new_tokens=3)
    assert answer.route.mode == "base"
    kept = answer.correct("XIV", domain="roman", subject="ann")
    assert (kept.right, kept.domain, kept.subject, kept.generation) == ("XIV", "roman", "ann", None)
    assert kept.base == node.base
    assert [c.id for c in node.corrections] == [kept.id]
    assert len(node.corrections) == 1
    assert "roman: " in repr(node.corrections)


def test_what_the_model_babbles_never_stops_a_correction(make, monkeypatch):
    node = make()
    engine = node.context.engine
    monkeypatch.setattr(engine, "generate", lambda *_: [Completion("\x1b[31m\x00 red \udc80")])
    kept = node.ask("?").correct("red", domain="colours")
    assert kept.wrong == "\ufffd[31m\ufffd red \ufffd"


BAD_CORRECTIONS = {
    "an empty answer": ("What?", " "),
    "an empty question": (" ", "yes"),
    "an enormous answer": ("What?", "x" * 70_000),
    "binary": ("What?", "a\x00b"),
    "bytes": ("What?", b"yes"),
    "no messages": ([], "yes"),
}


@pytest.mark.parametrize(("prompt", "right"), BAD_CORRECTIONS.values(), ids=BAD_CORRECTIONS.keys())
def test_a_correction_that_cannot_be_learned_from_is_refused_and_nothing_stored(
    make, prompt, right
):
    node = make()
    with pytest.raises(CorrectionError) as caught:
        node.correct(prompt, right, domain="roman")
    assert caught.value.remedy
    assert len(node.corrections) == 0


def test_many_are_asked_as_one_would_be(make):
    node = make()
    prompts = ["one?", [{"role": "user", "content": "two?"}], "three, and a little longer?"]
    many = node.ask_many(prompts, max_new_tokens=5)
    assert [a.text for a in many] == [node.ask(p, max_new_tokens=5).text for p in prompts]
    assert node.ask_many([]) == []
    assert node.score([]) == []


def test_a_stream_says_what_ask_says_and_passes_errors_on(make):
    node = make()
    assert "".join(node.stream("Hi", max_new_tokens=9)) == node.ask("Hi", max_new_tokens=9).text
    with pytest.raises(UsageError, match="the question is empty"):
        list(node.stream(""))
    engine = node.context.engine
    whole = engine.generate

    def broken(*_):
        raise RuntimeError("out of order")

    engine.generate = broken
    try:
        with pytest.raises(RuntimeError, match="out of order"):
            list(node.stream("Hi"))
    finally:
        engine.generate = whole


def test_sampling_repeats_by_seed_and_leaves_the_callers_chance_alone(make):
    node = make()
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    first = node.ask("Hi", temperature=1.0, seed=3, max_new_tokens=8).text
    assert torch.equal(torch.rand(2), expected)
    assert node.ask("Hi", temperature=1.0, seed=3, max_new_tokens=8).text == first


def test_corrections_are_imported_whole_exported_and_forgotten(make, tmp_path):
    node = make()
    lines = [{"prompt": f"{n}?", "right": str(n), "domain": "numbers"} for n in range(12)]
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    assert node.corrections.import_from(path).new == 12
    assert node.corrections.import_from(path).new == 0
    counts = node.corrections.counts()["numbers"]
    assert counts.training + counts.holdout == 12
    dataset = node.corrections.to_dataset("numbers", holdout=False)
    assert len(dataset) == counts.training
    assert node.corrections.export_to(tmp_path / "out.jsonl") == 12
    path.write_text('{"prompt": "x?", "right": "x", "domain": "numbers"}\nnonsense')
    with pytest.raises(ImportLineError, match="line 2"):
        node.corrections.import_from(path)
    first = node.corrections.list()[0]
    assert node.corrections.forget(first.id).corrections == 1
    assert node.corrections.forget(domain="numbers").corrections == 11
    assert len(node.corrections) == 0
    assert node.corrections.import_from(tmp_path / "out.jsonl").new == 12


def test_status_tells_all_and_loads_nothing_new(make, kit):
    node = make()
    empty = node.status()
    assert "no corrections yet" in str(empty)
    kit.teach(node, "yes", "yes yes", 8, 3)
    status = node.status()
    (domain,) = status.domains
    assert (domain.training, domain.holdout, domain.generation) == (8, 3, None)
    assert domain.serves == "base model"
    assert json.loads(status.to_json())["domains"][0]["domain"] == "yes"
    assert "yes" in status._repr_html_()
    assert node.key in str(status)
    assert node.name in repr(node)
    node.train("yes")
    assert node.status().domains[0].serves == "own specialist"


def test_the_ids_that_status_tells_are_those_that_ask_takes(make, kit, author):
    node = make()
    kit.teach(node, "no", "no", 8, 24)
    node.train("no")
    kit.send(author[1], node)
    node.merge("yes")
    own, stranger = node.status().experts
    assert (own.role, own.domain, own.author) == ("own specialist", "no", node.name)
    assert (stranger.role, stranger.id) == ("sandboxed", author[1].id.hex())
    for expert in (own, stranger):
        assert expert.id[:12] in str(node.status())
        said = node.ask("Hi", experts=[expert.id[:12]], max_new_tokens=1)
        assert said.route.experts == (expert.id,)
    assert json.loads(node.status().to_json())["experts"][1]["id"] == stranger.id


NO_BATCH = {
    "one text as many": lambda node: node.ask_many("hello"),
    "a message as a prompt": lambda node: node.ask_many([{"role": "user", "content": "x"}]),
    "a prompt alone": lambda node: node.score([("a",)]),
    "an answer too many": lambda node: node.score([("a", "b", "c")]),
    "a text as a pair": lambda node: node.score(["ab"]),
    "an answer that is no text": lambda node: node.score([("a", 1)]),
    "a domain for asking": lambda node: node.ask("a", "No Such"),
    "a domain for many": lambda node: node.ask_many(["a"], "No Such"),
    "a domain for scoring": lambda node: node.score([("a", "b")], "No Such"),
    "a domain for streaming": lambda node: list(node.stream("a", "No Such")),
    "one peer that is no address": lambda node: node.join("yes", peers="nowhere"),
}


@pytest.mark.parametrize("call", NO_BATCH.values(), ids=NO_BATCH.keys())
def test_what_would_mean_something_else_is_refused(make, call):
    with pytest.raises(UsageError) as refused:
        call(make())
    assert refused.value.remedy


def test_one_peer_may_be_given_as_it_is(make):
    at = {"listen": "127.0.0.1:0", "discover": False}
    with (
        make("one").join("yes", **at) as one,
        make("two").join("yes", peers=one.address, **at) as two,
    ):
        two.sync(wait_s=10)
        assert [peer.verified for peer in two.peers] == [True]


def test_what_comes_back_is_shown_in_a_line_for_people_and_without_bytes(make, kit):
    node = make()
    kit.teach(node, "yes", "yes yes", 16, 0)
    answer = node.ask("What is yes?", max_new_tokens=1)
    assert repr(answer) == f"Answer({answer.text!r} by base model)"
    assert "\\x" not in repr(answer.correct("yes yes", domain="yes"))
    node.train("yes")
    assert repr(node.last_training) == str(node.last_training)
    assert repr(node.status()) == str(node.status())
    assert node.merge("yes").__repr__() == "yes: nothing to judge: nothing arrived; nothing changed"
    back = node.rollback("yes")
    told = "yes: generation 2, base model. rollback of generation 1"
    assert (str(back), repr(back), back._repr_html_()) == (told, told, f"<pre>{told}</pre>")


def test_a_folder_called_model_is_not_the_nano_model(make, tmp_path):
    from hivelearn.testing.models import small_model

    node = make(model=small_model(tmp_path / "model"))
    assert node.status().model == "model"


def test_a_writer_that_was_killed_is_not_busy(make):
    node = make()
    node.context.home.make()
    sidecar = node.home / "writer.json"
    sidecar.write_text(json.dumps({"pid": 2**22 + 1, "doing": "train yes", "since_s": 0.0}))
    assert node.status().writer is None
    with node.context.store.writing("look at it"):
        assert node.status().writer.endswith("look at it")
        assert "busy" in str(node.status())


def test_an_open_model_is_kept_in_the_home_once(make, folder):
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    node = make(model=model, tokenizer=tokenizer)
    saved = node.context.folder
    assert saved.parent == node.home / "models"
    written = (saved / "model.safetensors").stat().st_mtime_ns
    again = make(model=model, tokenizer=tokenizer)
    assert again.context.folder == saved
    assert (saved / "model.safetensors").stat().st_mtime_ns == written
    assert again.base == node.base
    assert node.ask("Hi", max_new_tokens=3).text == again.ask("Hi", max_new_tokens=3).text
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    other = make(model=model, tokenizer=tokenizer)
    assert other.base != node.base  # another template is another base
    assert len(list((node.home / "models").iterdir())) == 2


def test_what_is_no_model_is_refused(make, folder):
    with pytest.raises(NoModelError):
        make(model="./nowhere")
    with pytest.raises(UsageError, match="cannot be the base"):
        make(model=object())
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(folder)
    with pytest.raises(UsageError, match="needs its tokenizer"):
        make(model=model)


def test_a_home_that_is_a_file_is_refused(make, tmp_path):
    (tmp_path / "taken").write_text("x")
    with pytest.raises(NotAHomeError):
        make("taken")


WRONG = [
    {"colour": "red"},
    {"base_texts": 0},
    {"max_new_tokens": 0},
    {"checkpoint_s": -1.0},
    {"checkpoint_s": float("nan")},
    {"engine": "nonsense"},
    {"device": "nonsense"},
    {"dtype": "nonsense"},
]


@pytest.mark.parametrize("settings", WRONG, ids=str)
def test_a_setting_that_cannot_work_is_refused_with_a_remedy(make, settings):
    with pytest.raises(UsageError) as caught:
        make(**settings)
    assert caught.value.remedy


def test_settings_have_defaults_and_can_be_given_as_a_record(tmp_path, folder):
    config = NodeConfig(
        home=tmp_path / "home", engine_options=ResidentOptions(device="cpu"), max_new_tokens=3
    )
    with hl.Node(folder, config=config, seed=5) as node:
        assert node.config.seed == 5
        assert node.config.max_new_tokens == 3
        assert node.model.config.model_type == "llama"
        assert node.last_training is None


def test_a_training_prints_nothing_when_progress_is_off(make, kit, capfd):
    node = make()
    kit.teach(node, "yes", "yes yes")
    capfd.readouterr()
    node.train("yes")
    assert capfd.readouterr() == ("", "")
