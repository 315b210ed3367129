"""How large an adapter may be: in hand, and as a patch that travels. Loads no torch."""

from typing import Final

ADAPTER_RANK_MAX: Final = 4_096  # in hand: a stack of adapters grows
PATCH_RANK_MAX: Final = 64  # of what is signed and sent, and of what serves
ALPHA_MIN: Final = 1e-6  # the unit in which an alpha is signed
ALPHA_MAX: Final = 65_536.0  # PEFT accepts 8e6, which is an attack, not a setting
