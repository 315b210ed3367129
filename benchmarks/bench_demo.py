"""What do the steps of the main job cost, against doing them with the libraries below?

Claim: importing takes ≤ 0.10 s and `hivelearn status` ≤ 0.5 s; a first token and a
       training step cost no more than 1.25 × the same with transformers and PEFT alone;
       an exact merge of nano adapters is ≥ 4 × faster than PEFT's exact one (`svd`);
       20 MB cross the encrypted LAN fabric, verified, at ≥ 40 MB/s.
Run:   python benchmarks/bench_demo.py --quick --json out.json
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from lan_transfer import transfer_seconds
from timing import Row, arguments, interleaved, report

import hivelearn as hl
from hivelearn.demo import tasks
from hivelearn.inference.chat import Example
from hivelearn.inference.model_folder import NANO
from hivelearn.training.session import TrainingSession

TRANSFER_BYTES = 20_000_000
SLACK = 1.25
IMPORT_S = 0.10
STATUS_S = 0.5
TRANSFER_MB_S = 40.0
MERGE_FACTOR = 4.0


def _python(*words: str) -> None:
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)


def bench_import(rounds: int) -> Row:
    """`import hivelearn` beside `import transformers`, the bare interpreter taken off both."""
    ours, bare, spread = interleaved(
        lambda: _python("-c", "import hivelearn"), lambda: _python("-c", "pass"), rounds
    )
    rival, _, _ = interleaved(
        lambda: _python("-c", "import transformers"), lambda: _python("-c", "pass"), 2
    )
    took, other = ours - bare, rival - bare
    return Row(
        "import", took, other, "import transformers", "s", other / took, "<= 0.10",
        took <= IMPORT_S, spread,
    )  # fmt: skip


def bench_status(home: Path, rounds: int) -> Row:
    """`hivelearn status` as a process, beside a process that imports torch and does nothing."""
    code = "from hivelearn.cli.app import main; main()"
    command = ("-c", code, "status", "--home", str(home))
    ours, rival, spread = interleaved(
        lambda: _python(*command), lambda: _python("-c", "import torch"), rounds
    )
    return Row(
        "status", ours, rival, "import torch", "s", rival / ours, "<= 0.5", ours <= STATUS_S, spread
    )


def bench_ask(node: hl.Node, rounds: int) -> Row:
    """The first token of an answer, beside transformers' generate on the same model."""
    prompt = "Spell the word: garden"
    engine = node.engine
    ids = torch.tensor([engine.encoder.prompt(prompt).tokens])
    mask = torch.ones_like(ids)

    def rival() -> object:
        with torch.inference_mode():
            return node.model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=1, do_sample=False
            )

    ours, theirs, spread = interleaved(lambda: node.ask(prompt, max_new_tokens=1), rival, rounds)
    holds = ours <= SLACK * theirs
    return Row(
        "ask, first token", ours, theirs, "transformers generate", "s", theirs / ours,
        f"<= {SLACK} x rival", holds, spread,
    )  # fmt: skip


def lesson_examples(node: hl.Node, seed: int) -> list[Example]:
    """Return 64 corrections of the demo's first subject as the engine sees them."""
    lessons = tasks.corrections(next(iter(tasks.DOMAINS.values())), seed, 64)
    return [node.engine.encoder.pair(lesson.prompt, lesson.answer) for lesson in lessons]


def _session(node: hl.Node, seed: int) -> TrainingSession:
    return TrainingSession(
        node.engine, lesson_examples(node, seed), hl.Recipe(steps=10_000), "bench"
    )


def bench_step(node: hl.Node, seed: int, rounds: int) -> Row:
    """One optimizer step on 32 corrections, beside PEFT with torch's AdamW on the same rows."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    session = _session(node, seed)
    model = AutoModelForCausalLM.from_pretrained(
        NANO,
        dtype=torch.float32,
    )
    r = session.recipe
    names = sorted(node.engine.shapes())
    peft = get_peft_model(model, LoraConfig(r=r.rank, lora_alpha=r.alpha, target_modules=names))
    trained = [p for p in peft.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=r.rate or 1e-3, weight_decay=0.0)
    rows = lesson_examples(node, seed)[: r.batch]
    width = max(len(row.tokens) for row in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for at, row in enumerate(rows):
        ids[at, : len(row.tokens)] = torch.tensor(row.tokens)
        mask[at, : len(row.tokens)] = 1
    labels = ids.masked_fill(mask == 0, -100)

    def rival() -> None:
        loss = peft(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, r.clip)
        optimizer.step()
        optimizer.zero_grad()

    ours, theirs, spread = interleaved(session.step, rival, rounds)
    return Row(
        "train step, 32 corrections", ours, theirs, "PEFT + torch AdamW", "s", theirs / ours,
        f"<= {SLACK} x rival", ours <= SLACK * theirs, spread,
    )  # fmt: skip


def bench_merge(node: hl.Node, seed: int, rounds: int) -> Row:
    """An exact merge of three nano adapters to rank 16, beside PEFT's `svd` (its exact one)."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    adapters = []
    for index in range(3):
        session = _session(node, seed + index)
        session.step()
        adapters.append(session.adapter())
    with tempfile.TemporaryDirectory() as folder:
        model: Any = AutoModelForCausalLM.from_pretrained(
            NANO,
            dtype=torch.float32,
        )
        paths = [adapter.save(Path(folder) / str(i)) for i, adapter in enumerate(adapters)]
        peft = PeftModel.from_pretrained(model, paths[0], adapter_name="a0")
        for index, path in enumerate(paths[1:], start=1):
            peft.load_adapter(path, adapter_name=f"a{index}")
    names, weights = ["a0", "a1", "a2"], [1 / 3] * 3
    made = iter(range(1_000))

    def rival() -> None:
        name = f"merged{next(made)}"
        peft.add_weighted_adapter(
            names, weights, name, combination_type="svd", svd_rank=adapters[0].rank
        )
        peft.delete_adapter(name)

    ours, theirs, spread = interleaved(lambda: hl.merge(adapters), rival, rounds)
    return Row(
        "exact merge of 3 nano adapters", ours, theirs, "PEFT svd", "s", theirs / ours,
        ">= 4 x faster", theirs >= MERGE_FACTOR * ours, spread,
    )  # fmt: skip


def bench_transfer(rounds: int) -> Row:
    """20 MB over the LAN fabric on loopback, hashed and encrypted, beside bare TCP."""
    ours, rival = transfer_seconds(TRANSFER_BYTES, rounds)
    speed, bare = TRANSFER_BYTES / 1e6 / ours, TRANSFER_BYTES / 1e6 / rival
    return Row(
        "LAN transfer of 20 MB", speed, bare, "asyncio TCP, no hash, no cipher", "MB/s",
        speed / bare, ">= 40", speed >= TRANSFER_MB_S, 0.0,
    )  # fmt: skip


def measure(*, quick: bool, seed: int) -> list[Row]:
    """Return all rows."""
    torch.set_num_threads(1)
    rounds = 3 if quick else 9
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        with hl.Node(home=home, progress=False) as node:
            rows = [bench_ask(node, 5 * rounds), bench_step(node, seed, 2 * rounds)]
            rows.append(bench_merge(node, seed, rounds))
        rows = [bench_import(rounds), bench_status(home, rounds), *rows]
        return [*rows, bench_transfer(rounds)]


def main() -> None:
    """Measure, print, write."""
    asked = arguments(__doc__ or "")
    report(__doc__ or "", measure(quick=asked.quick, seed=asked.seed), asked.json)


if __name__ == "__main__":
    main()
