"""What hivelearn and llama.cpp make of one base and one adapter, where llama.cpp is installed."""

import numpy as np
import pytest
import torch

from hivelearn.inference.gguf_model import converted
from hivelearn.inference.loading import load_model
from hivelearn.inference.resident import ResidentEngine

llama_cpp = pytest.importorskip("llama_cpp", reason="a compiler's work, and not needed otherwise")
NOISE = 0.01  # llama.cpp keeps keys and values in 16 bits


def test_base_and_adapter_give_the_same_logits_in_llama_cpp(
    gguf_file, adapter_for, tmp_path, monkeypatch
):
    monkeypatch.setenv("HIVELEARN_CACHE", str(tmp_path / "cache"))
    engine = ResidentEngine(load_model(converted(gguf_file, lambda _: None), "cpu"), bytes(32))
    adapter = adapter_for(engine, size=0.3)
    folder = adapter.save(tmp_path / "lora", format="gguf", model=engine.model)
    row = engine.encoder.prompt("Hello there, my friend")
    found = {}
    for name, lora in (("base", None), ("adapter", str(folder / "adapter_model.gguf"))):
        theirs = llama_cpp.Llama(
            str(gguf_file), lora_path=lora, n_ctx=256, logits_all=True, verbose=False
        )
        theirs.eval(list(row.tokens))
        with torch.inference_mode(), engine.attach(adapter if lora else None):
            ours = engine.model(torch.tensor([row.tokens])).logits[0].numpy()
        found[name] = ours
        np.testing.assert_allclose(theirs.scores[: len(row.tokens)], ours, atol=NOISE)
    assert np.abs(found["base"] - found["adapter"]).max() > 10 * NOISE
