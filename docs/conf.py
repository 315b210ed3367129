"""How the Markdown of this repository becomes a site: ``make docs``, every warning an error.

The source folder is the root of the repository, so that a link between two pages is
the same here and where people browse the code. The build reads this checkout and
nothing else: notebooks are shown with the pictures committed in them (the tests run
them), and no inventory of another project is fetched.
"""

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # this checkout, whatever is installed

project = "hivelearn"
author = "the authors of hivelearn"
release = metadata.version("hivelearn")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**", "notebooks/*.ipynb", "hivelearn/merging/lowrank/README.md"]
exclude_patterns = [".*", "build", "dist", "tests", "examples", "benchmarks"]
suppress_warnings = [
    "myst.header",  # the README's stories are bold words; they need no level of their own
]

html_theme = "furo"
html_title = "hivelearn"
html_extra_path = ["index.html"]  # the front page is docs/index.html; who asks for / gets there

nb_execution_mode = "off"
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # as written, not as computed
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
