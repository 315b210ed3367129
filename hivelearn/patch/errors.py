"""What is no plain LoRA: the error of whoever reads factors, in memory or in a folder."""

from hivelearn.errors import UsageError
from hivelearn.patch.limits import ADAPTER_RANK_MAX


class AdapterError(UsageError):
    """These factors, or this folder, are not a plain LoRA."""

    remedy = (
        "Train or convert it with plain LoRA (bias='none', no DoRA, no modules_to_save), "
        f"rank at most {ADAPTER_RANK_MAX}, one float type."
    )
