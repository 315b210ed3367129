"""A start from which copying is learned in minutes instead of hours.

Nearly every task copies, and copying takes two attention heads in a row that form late
from a random start: one that looks at the token before, and one that finds where the
present token stood earlier and reads what followed ("induction", Olsson et al. 2022,
arXiv:2209.11895). Here both are written into the first weights, small enough to be
unlearned. The rest is random as usual. Everything is trained afterwards; this only says
where training begins.

How: dimension 0 of every embedding holds one constant, which moves all logits alike and
so means nothing; queries and keys made from it alone, turned by RoPE, peak at distance one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from transformers import LlamaForCausalLM

EMBEDDING_STD, WEIGHT_STD, OUTPUT_STD = 0.07, 0.04, 0.02
CONSTANT = 0.5  # of dimension 0, in lengths of the rest of the embedding
SHARPNESS = 6.0  # score of the token before, summed over the rotated pairs
MATCH = 1.6  # scale of the matching head's queries and keys
CARRY, READ = 0.15, 0.3  # how loud the two heads write into the residual stream
HEADS = 2  # of each kind


def _orthonormal(rows: int, width: int) -> Tensor:
    """Return (rows, width) with orthonormal rows that ignore dimension 0."""
    drawn, _ = torch.linalg.qr(torch.randn(width - 1, rows))
    return torch.cat([torch.zeros(rows, 1), drawn.T], dim=1)


def _looking_back(width: int, theta: float, length: float) -> tuple[Tensor, Tensor]:
    """Return (width,) query and key whose rotated product peaks at distance one."""
    half = width // 2
    turns = theta ** -(torch.arange(half) / half)  # radians a position, as Llama has them
    scale = math.sqrt(SHARPNESS * math.sqrt(width)) / length
    key = torch.cat([torch.ones(half), torch.zeros(half)])
    return scale * torch.cat([turns.cos(), -turns.sin()]), scale * key


@torch.no_grad()
def initialise(model: LlamaForCausalLM) -> None:
    """Draw all weights anew from torch's global stream, the two kinds of head included."""
    config = model.config
    width, size = config.hidden_size, config.hidden_size // config.num_attention_heads
    for name, weight in model.named_parameters():
        if weight.ndim > 1:
            quiet = name.endswith(("o_proj.weight", "down_proj.weight"))
            weight.normal_(0.0, OUTPUT_STD if quiet else WEIGHT_STD)
    embedding = model.get_input_embeddings().weight
    embedding.normal_(0.0, EMBEDDING_STD)
    embedding[:, 0] = CONSTANT * EMBEDDING_STD * math.sqrt(width)
    length = CONSTANT * math.sqrt(width) / math.sqrt(1 + CONSTANT**2)  # of it after RMSNorm
    query, key = _looking_back(size, config.rope_parameters["rope_theta"], length)
    before, match = (model.model.layers[i].self_attn for i in (0, 1))
    for head in range(HEADS):
        rows = slice(head * size, (head + 1) * size)
        token, carried, told = (_orthonormal(size, width) for _ in range(3))
        for weight, vector in ((before.q_proj.weight, query), (before.k_proj.weight, key)):
            weight[rows] = 0.0
            weight[rows, 0] = vector
        before.v_proj.weight[rows] = token
        before.o_proj.weight[:, rows] = CARRY * carried.T
        match.q_proj.weight[rows] = MATCH * token
        match.k_proj.weight[rows] = MATCH * carried
        match.v_proj.weight[rows] = told
        match.o_proj.weight[:, rows] = READ * told.T
