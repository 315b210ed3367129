"""Stacks of factors that a cut finds hard, and how far a cut is from the best there is."""

import pytest
import torch

BF16 = torch.bfloat16


def drawn(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def alike(shared, count, wide=500):
    """Return terms that have a share in common."""
    a = shared * drawn(3, 1, wide) + (1 - shared) * drawn(4, count, wide)
    b = shared * drawn(5, wide + 100, 1) + (1 - shared) * drawn(6, wide + 100, count)
    return a.to(BF16), b.to(BF16), torch.linspace(0.5, 1.5, count)


def half_in_common(count):
    """Return adapters of rank 16 with half of their factors in common: a gap in the spectrum."""
    a = drawn(1, 16, 512).repeat(count // 16, 1) + drawn(2, count, 512)
    b = drawn(3, 512, 16).repeat(1, count // 16) + drawn(4, 512, count)
    return a.to(BF16), b.to(BF16), torch.ones(count)


def twins(count):
    """Return rows in pairs that hardly differ."""
    a = drawn(1, count // 2, 600).repeat(2, 1) + 0.01 * drawn(2, count, 600)
    return a.to(BF16), drawn(3, 640, count).to(BF16), torch.ones(count)


def steep(fall, count):
    """Return terms each 10**-fall of the one before: a cut to 16 loses next to nothing."""
    sizes = 10.0 ** (-fall * torch.arange(16)).repeat(count // 16)
    a, b = drawn(1, count, 500), drawn(2, 600, count) * sizes
    return a.to(BF16), b.to(BF16), torch.ones(count)


def copies(apart, stored, count):
    """Return copies of three adapters of rank 16 that differ a little."""
    a = (drawn(1, 16, 400).repeat(3, 1) + apart * drawn(2, 48, 400)).repeat(8, 1)[:count]
    b = (drawn(3, 400, 16).repeat(1, 3) + apart * drawn(4, 400, 48)).repeat(1, 8)[:, :count]
    return a.to(stored), b.to(stored), torch.ones(count)


def cancelling(far, count):
    """Return pairs of terms whose sums are ``far`` times as large as themselves."""
    a, b = drawn(1, count // 2, 500), drawn(2, 600, count // 2)
    scales = torch.tensor([1.0, -1.0]).repeat_interleave(count // 2)
    return torch.cat([a, a]), torch.cat([b, b + far * drawn(3, *b.shape)], 1), scales


def hidden(unit, count):
    """Return factors whose squares leave float32, though their product is ordinary."""
    a, b, scales = alike(0.3, count)
    return (a * unit).to(BF16), (b / unit).to(BF16), scales


def one_large_behind_small(count):
    """Return a term whose factors leave float32 in opposite directions, and one of zero."""
    a, b, scales = alike(0.3, count)
    a[5], b[:, 5], a[7] = a[5] * 1e-30, b[:, 5] * 1e30, 0
    return a, b, scales


HARD = {
    "independent": lambda count: alike(0.0, count),
    "independent and wide": lambda count: alike(0.0, count, 800),
    "a third in common": lambda count: alike(0.3, count),
    "all but a thousandth in common": lambda count: alike(0.999, count, 600),
    "adapters half in common": half_in_common,
    "twins": twins,
    "steep": lambda count: steep(0.4, count),
    "steeper": lambda count: steep(0.8, count),
    "copies, .1 apart": lambda count: copies(1e-1, torch.float32, count),
    "copies, 1e-3 apart": lambda count: copies(1e-3, torch.float32, count),
    "copies, 1e-3 apart, in bf16": lambda count: copies(1e-3, BF16, count),
    "copies": lambda count: copies(0.0, BF16, count),
    "cancelling to a thousandth": lambda count: cancelling(1e-3, count),
    "cancelling to a millionth": lambda count: cancelling(1e-6, count),
    "small times large": lambda count: hidden(1e-25, count),
    "large times small": lambda count: hidden(1e25, count),
    "below the normal range": lambda count: (
        (1e-40 * drawn(1, count, 600).double()).to(BF16),
        (1e4 * drawn(2, 580, count)).to(BF16),
        torch.ones(count),
    ),
    "one large behind small": one_large_behind_small,
}


@pytest.fixture(params=HARD)
def hard(request):
    """Return the maker of a hard stack (a, b, scales) of so many ranks."""
    return HARD[request.param]


@pytest.fixture
def judged():
    """Return what tells the error of factors, and the least there is (Eckart and Young)."""

    def judge(made, stack, rank):
        a, b, scales = stack
        whole = (b.double() * scales.double()) @ a.double()
        values = torch.linalg.svdvals(whole)
        gap = (made.b.double() @ made.a.double() - whole).norm() / values.norm()
        return float(gap), float(values[rank:].norm() / values.norm())

    return judge
