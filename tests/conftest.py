"""Tests draw the same examples everywhere, reach no hub and touch nobody's home.

The environment is set before any test module is imported, because torch and
huggingface_hub read it once, at import.
"""

import os

import pytest
from hypothesis import settings

os.environ.update(
    HF_HUB_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    TOKENIZERS_PARALLELISM="false",  # a fork after its thread pool started only earns a warning
)
# One thread: sums have one order, and tests that run beside each other do not fight for cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("law", derandomize=True, deadline=None, database=None)
settings.load_profile("law")


@pytest.fixture(scope="session", autouse=True)
def _nobodys_home(tmp_path_factory):
    """Give platformdirs a place of its own, whatever a test forgets to say."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
            patch.setenv(variable, str(home / variable.lower()))
        yield
