"""Every command from its help to its exit code, on the embedded model, in a home of its own."""

import json
import shutil
import threading
from pathlib import Path

import pytest
import torch

from hivelearn.demo import tasks
from hivelearn.identity import full_name
from hivelearn.node.config import NodeConfig
from hivelearn.node.context import open_context
from hivelearn.node.share.network import JoinOptions, NodeNetwork
from hivelearn.store.correction import Correction, to_conversation
from hivelearn.store.errors import LossWarning
from hivelearn.store.home import Home
from hivelearn.store.store import Store
from hivelearn.testing.models import small_model
from hivelearn.training.recipe import Recipe

COMMANDS = "demo ask correct train join vouch unvouch trust adopt rollback status doctor".split()
SOMEBODY = full_name(bytes(range(32)))


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(small_model(tmp_path_factory.mktemp("base")))


def lessons(path, count=40):
    rows = tasks.corrections(tasks.ROMAN, seed=0, n=count)
    path.write_text(
        "".join(json.dumps({"prompt": r.prompt, "right": r.answer}) + "\n" for r in rows)
    )
    return str(path)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name, call):
    done = call(name, "--help", home=None)
    assert done.exit_code == 0
    assert f"hivelearn {name}" in done.stdout
    assert "--help" in done.stdout
    assert name == "demo" or ("--home" in done.stdout and "--model" in done.stdout)


def test_the_help_of_train_tells_the_recipes_own_defaults(call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    said = call("train", "--help", home=None).stdout
    usual = Recipe()
    assert (usual.steps, usual.batch, usual.rate) == (None, None, None)
    assert said.count("[default: follows the corrections]") == 2
    assert "[default: follows the model]" in said
    assert f"[default: {usual.rank}]" in said


def test_the_help_lists_all_commands_and_the_version_is_told(call):
    listed = call("--help", home=None).stdout
    assert all(f"  {name} " in listed for name in COMMANDS)
    assert call("--version", home=None).stdout.startswith("0.")


def test_an_answer_goes_to_stdout_and_its_route_to_stderr(call, base):
    done = call("ask", "Hello", "--model", base, "--max-new-tokens", "4")
    assert done.exit_code == 0
    assert "base model" in done.stderr
    assert "base model" not in done.stdout
    said = json.loads(call("ask", "Hello", "--json", "--model", base).stdout)
    tokens = {"finish_reason", "prompt_tokens", "answer_tokens"}
    assert said.keys() == {"text", "experts", "mode", "confidence", *tokens}


def test_a_correction_is_kept_with_what_was_wrong(call, home, base):
    done = call("correct", "14?", "XIV", "--domain", "roman", "--wrong", "IIX", "--model", base)
    assert (done.exit_code, done.stdout[:12]) == (0, "roman: kept ")
    status = json.loads(call("status", "--json", "--model", base).stdout)
    (row,) = status["domains"]
    assert (row["domain"], row["training"] + row["holdout"]) == ("roman", 1)
    context = open_context(base, NodeConfig(home=home))
    assert [c.wrong for c in context.journal.list()] == ["IIX"]


def test_a_file_imported_twice_teaches_nothing_twice(call, tmp_path, base):
    words = ("correct", "--import", lessons(tmp_path / "a.jsonl"), "--domain", "roman")
    assert call(*words, "--model", base).stdout == "40 new corrections\n"
    assert call(*words, "--model", base).stdout == "0 new corrections, 40 said before\n"
    (row,) = json.loads(call("status", "--json", "--model", base).stdout)["domains"]
    assert row["training"] + row["holdout"] == 40


def test_train_adopt_and_rollback_tell_what_serves(call, tmp_path, base):
    on = ("--model", base)
    call("correct", "--import", lessons(tmp_path / "a.jsonl"), "--domain", "roman", *on)
    done = call("train", "roman", "--steps", "3", "--batch", "4", *on)
    assert (done.exit_code, done.stdout[:20]) == (0, "roman: generation 1 ")
    assert "serves, unmeasured: too little evidence" in done.stdout
    nothing = call("adopt", "roman", *on)
    assert (nothing.exit_code, "nothing to judge" in nothing.stdout) == (1, True)
    assert json.loads(call("adopt", "roman", "--json", *on).stdout)["outcome"] == "nothing to judge"
    back = call("rollback", "roman", *on)
    assert (back.exit_code, back.stdout) == (
        0,
        "roman: generation 2, base model. rollback of generation 1\n",
    )
    assert "base model" in call("status", *on).stdout


def test_a_recipe_can_be_given_and_its_cost_be_told_first(call, tmp_path, base):
    on = ("--model", base)
    call("correct", "--import", lessons(tmp_path / "a.jsonl"), "--domain", "roman", *on)
    words = ("train", "roman", "--steps", "3", "--batch", "4", "--rank", "2", "--rate", "0.01")
    told = call(*words, "--estimate", *on)
    assert told.exit_code == 0
    assert "for 3 steps of 4" in told.stdout
    assert json.loads(call(*words, "--estimate", "--json", *on).stdout)["steps"] == 3
    done = call(*words, "--json", *on)
    recipe = json.loads(done.stdout)["recipe"]
    assert (recipe["rank"], recipe["rate"], recipe["batch"]) == (2, 0.01, 4)
    assert "for 3 steps of 4" in done.stderr
    wrong = call("train", "roman", "--rank", "65", *on)
    assert wrong.exit_code == 2
    assert "from 1 to 64" in wrong.stderr


def test_training_tells_its_figures_as_json(call, tmp_path, base):
    on = ("--model", base)
    call("correct", "--import", lessons(tmp_path / "a.jsonl"), "--domain", "roman", *on)
    report = json.loads(call("train", "roman", "--steps", "2", "--json", *on).stdout)
    assert (report["steps"], report["of_steps"], report["adopted"]) == (2, 2, True)


def test_vouching_counts(call, base):
    assert call("vouch", SOMEBODY, "--note", "met", "--model", base).exit_code == 0
    assert json.loads(call("status", "--json", "--model", base).stdout)["vouched"] == 1


def test_a_vouch_is_seen_and_taken_back(call, base, home):
    on = ("--model", base)
    Home.open(home)
    assert "nobody is known yet" in call("trust", *on).stdout
    call("vouch", SOMEBODY, "--note", "met", *on)
    (row,) = json.loads(call("trust", "--json", *on).stdout)["rows"]
    assert (row["key"], row["standing"], row["note"]) == (SOMEBODY, "vouched", "met")
    told = call("unvouch", SOMEBODY, *on)
    assert (told.exit_code, told.stdout) == (0, f"the vouch for {row['author']} is withdrawn\n")
    assert f"{row['author']}  unknown" in call("trust", *on).stdout
    again = call("unvouch", SOMEBODY, *on)
    assert again.exit_code == 2
    assert "`hivelearn trust` lists" in again.stderr


def test_vouches_lists_them_with_their_notes_also_withdrawn_ones(call, base):
    on = ("--model", base)
    call("correct", "14?", "XIV", "--domain", "roman", *on)
    assert "no vouches" in call("vouches", *on).stdout
    call("vouch", SOMEBODY, "--note", "met", *on)
    call("unvouch", SOMEBODY, *on)
    (row,) = json.loads(call("vouches", "--json", *on).stdout)["vouches"]
    assert (row["key"], row["note"]) == (SOMEBODY, "met")
    assert row["withdrawn"]
    assert SOMEBODY in call("vouches", *on).stdout


def test_peers_tells_who_is_there_and_where_a_connection_fails(call, base, tmp_path, until):
    alone = ("--listen", "127.0.0.1:0", "--no-discover", "--model", base)
    assert "nobody is there" in call("peers", "roman", "--wait", "0.1", *alone).stdout
    other = open_context(base, NodeConfig(home=tmp_path / "other"))
    there = JoinOptions.of({"listen": "127.0.0.1:0", "discover": False})
    with NodeNetwork(other).join(["roman"], there) as swarm:
        address = swarm.address
        nowhere = ("--peer", "127.0.0.1:9", "--peer", address)
        done = call("peers", "roman", "--wait", "3", "--json", *nowhere, *alone)
    states = {row["state"]: row for row in json.loads(done.stdout)["peers"]}
    assert states["verified"]["device"] == address.split("@")[0]
    assert states["seen"]["failing"]


@pytest.mark.parametrize("shell_name", ["bash", "zsh", "fish", "powershell"])
def test_completion_prints_a_script_and_writes_to_no_settings(call, shell_name):
    done = call("completion", shell_name, home=False)
    assert done.exit_code == 0
    assert "_HIVELEARN_COMPLETE" in done.stdout


def test_a_shell_that_nobody_writes_scripts_for_is_told(call):
    done = call("completion", "bahs", home=False)
    assert (done.exit_code, "did you mean 'bash'?" in done.stderr) == (2, True)


@pytest.mark.parametrize("group", [(), ("corrections",)])
def test_no_summary_in_the_list_of_commands_is_cut(call, group):
    listed = call(*group, "--help", home=False).stdout
    assert "Commands:" in listed
    assert "..." not in listed.partition("Commands:")[2]


def test_the_script_of_completion_is_answered(shell):
    words = {"COMP_WORDS": "hivelearn vo", "COMP_CWORD": "1"}
    done = shell(_HIVELEARN_COMPLETE="complete_bash", **words)
    assert done.stdout.split() == ["vouch", "vouches"]


def test_a_join_that_meets_nobody_says_so(call, base):
    alone = ("--listen", "127.0.0.1:0", "--no-discover", "--wait", "0.2", "--publish")
    done = call("join", "roman", *alone, "--model", base)
    assert done.exit_code == 3
    assert "listening on hl1" in done.stdout
    assert "nothing to publish yet" in done.stdout
    assert "nobody was met\n→ Start `hivelearn join` there too" in done.stderr


def test_who_came_and_left_again_was_met(call, base, tmp_path, home, until):
    visitor = open_context(base, NodeConfig(home=tmp_path / "visitor"))
    how = JoinOptions("lan", options={"listen": "127.0.0.1:0", "discover": False})
    told = []

    def visit():
        with NodeNetwork(visitor).join(["roman"], how) as swarm:
            told.append(swarm.address)
            until(lambda: any(peer.verified for peer in swarm.peers))

    guest = threading.Thread(target=visit)
    guest.start()
    until(lambda: told)
    where = ("--peer", told[0], "--listen", "127.0.0.1:0", "--no-discover")
    done = call("join", "roman", *where, "--wait", "3", "--model", base)
    guest.join()
    assert (done.exit_code, done.stderr) == (
        0,
        f"A new home was made in {home}, for the model {Path(base).name}\n",
    )


def test_the_doctor_tells_programs_what_he_tells_people(call, base):
    done = call("doctor", "--json", "--model", base)
    told = json.loads(done.stdout)
    assert (done.exit_code, told["problems"]) == (0, 0)
    assert {"name", "state", "what", "todo"} == told["checks"][0].keys()
    assert "model" in {check["name"] for check in told["checks"]}


def test_a_network_of_one_process_is_not_joined_by_a_process(call, base):
    done = call("join", "roman", "--fabric", "memory", "--model", base)
    assert done.exit_code == 2
    assert "of one Python process" in done.stderr
    assert "Use one of: lan." in done.stderr


def test_the_doctor_has_a_line_for_everything_and_finds_no_problem_here(call, base):
    done = call("doctor", "--model", base)
    lines = {line[9:25].strip(): line.split()[0] for line in done.stdout.splitlines()[:-1]}
    assert done.exit_code == 0, done.stdout
    wanted = "python packages torch home identity cpu_c on_mains loopback discovery model"
    assert set(wanted.split()) | {"train now", "live now"} <= lines.keys()
    assert set(lines.values()) <= {"ok", "unknown"}
    assert done.stdout.endswith("no problems\n")


def test_the_doctor_reports_a_sick_model_and_a_sick_home(call, tmp_path, base):
    (tmp_path / "empty").mkdir()
    sick = call("doctor", "--model", str(tmp_path / "empty"))
    assert sick.exit_code == 4
    assert "problem  model" in sick.stdout
    assert "→ " in sick.stdout
    (tmp_path / "file").write_text("no home")
    homeless = call("doctor", "--model", base, home=tmp_path / "file")
    assert (homeless.exit_code, "problem  home" in homeless.stdout) == (4, True)
    assert "1 problem\n" in homeless.stdout


def test_the_doctor_names_what_was_left_for_the_journal_and_is_no_correction(call, base, home):
    assert call("vouch", SOMEBODY, "--model", base).exit_code == 0
    (home / "inbox" / "000.json").write_bytes(b"no correction")
    assert call("unvouch", SOMEBODY, "--model", base).exit_code == 0  # whoever writes sets it aside
    sick = call("doctor", "--model", base)
    assert (sick.exit_code, "files that are no corrections: 1" in sick.stdout) == (4, True)


def test_the_demo_refuses_what_it_cannot_write_before_it_starts(call, tmp_path):
    nowhere = str(tmp_path / "no" / "such" / "folder.json")
    done = call("demo", "--json", nowhere, home=None)
    assert (done.exit_code, "cannot be written" in done.stderr) == (2, True)
    assert call("demo", "--seed", "-1", home=None).exit_code == 2


REFUSED = {
    "model that is not there": (("ask", "Hi", "--model", "/no/such/model"), 2, "is not a folder"),
    "no corrections": (("train", "roman"), 2, "no corrections to train on"),
    "domain that is no name": (("train", "Roman numerals!"), 2, "domain"),
    "short key": (("vouch", "amber-otter-7f3a"), 2, "is not a full key"),
    "mistyped key": (("vouch", SOMEBODY[:-1] + "2"), 2, "typing error"),
    "nothing to roll back": (("rollback", "unheard-of"), 2, "nothing to roll back"),
    "half a correction": (("correct", "14?", "--domain", "roman"), 2, "needs a question"),
    "empty correction": (("correct", "14?", " ", "--domain", "roman"), 2, "→"),
    "two sources": (("correct", "14?", "--import", "a.jsonl"), 2, "brings its own"),
    "file that is not there": (("correct", "--import", "no.jsonl", "--domain", "a"), 2, "no.jsonl"),
    "fabric of a later release": (("join", "roman", "--fabric", "libp2p"), 2, "later release"),
    "address that is none": (("join", "roman", "--peer", "nowhere"), 2, "not an address"),
}


@pytest.mark.parametrize(("words", "code", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_a_refusal_says_what_to_do_and_shows_no_traceback(words, code, said, call, base, home):
    Home.open(home)
    on = () if "--model" in words else ("--model", base)
    done = call(*words, *on)
    assert done.exit_code == code, done.output
    assert said in done.stderr
    assert "→ " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_that_is_none_is_refused_by_name(call, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    done = call("ask", "Hi", "--model", str(tmp_path))
    assert (done.exit_code, "holds no causal language model" in done.stderr) == (2, True)


def test_debugging_shows_where_an_error_came_from(call, base, monkeypatch):
    monkeypatch.setenv("HIVELEARN_DEBUG", "1")
    done = call("rollback", "roman", "--model", base)
    assert done.exit_code == 2
    assert "Traceback" in done.stderr


def test_what_one_command_line_leaves_the_next_one_finds(call, home, base):
    context = open_context(base, NodeConfig(home=home))
    question = to_conversation("14?")
    context.store.remember(Correction(question, "XIV", "roman", base=context.base, created_s=1.0))
    (row,) = json.loads(call("status", "--json", "--model", base).stdout)["domains"]
    assert row["training"] + row["holdout"] == 1


READING = [("status",), ("trust",), ("rollback", "roman"), ("adopt", "roman"), ("train", "roman")]


@pytest.mark.parametrize("words", [*READING, ("unvouch", SOMEBODY)], ids=lambda words: words[0])
def test_a_mistyped_home_is_refused_and_not_made(words, call, base, tmp_path):
    done = call(*words, "--model", base, home=tmp_path / "typo")
    assert (done.exit_code, "there is no home at" in done.stderr) == (2, True)
    assert "--home" in done.stderr
    assert not (tmp_path / "typo").exists()


def test_a_doctor_and_a_question_leave_no_home_behind(call, base, home):
    assert call("ask", "Hi", "--max-new-tokens", "1", "--model", base).exit_code == 0
    told = call("doctor", "--model", base).stdout
    assert "unknown  home             none at" in told
    assert not home.exists()


def test_a_command_that_makes_a_home_says_where(call, base, home):
    done = call("correct", "14?", "XIV", "--domain", "roman", "--model", base)
    assert done.stderr == f"A new home was made in {home}, for the model {Path(base).name}\n"
    assert call("correct", "9?", "IX", "--domain", "roman", "--model", base).stderr == ""


@pytest.mark.parametrize("path", ["", " ", "a\0b"], ids=repr)
def test_a_home_without_a_name_is_not_the_current_directory(call, base, path, tmp_path):
    done = call("status", "--home", path, "--model", base, home=None)
    assert (done.exit_code, "home" in done.stderr) == (2, True)


def test_a_loss_is_a_line_of_the_doctor_and_of_every_command(call, shell, base, home):
    for n in range(2):
        assert call("correct", f"{n}?", "yes", "--domain", "yes", "--model", base).exit_code == 0
        with Store(Home.at(home)).writing("take it in"):
            pass
        if n == 0:
            shutil.copy(home / "hive.db", home.parent / "old")
    shutil.copy(home.parent / "old", home / "hive.db")
    told = shell("status", "--model", base).stderr
    assert "1 correction among them" in told
    assert "LossWarning" not in told  # no line of our source
    with pytest.warns(LossWarning):
        sick = call("doctor", "--model", base)
    assert sick.exit_code == 4
    assert "problem  journal" in sick.stdout
    assert "losses.jsonl" in sick.stdout
