"""Configuration of the site: ``sphinx-build -W --keep-going -b html docs docs/_build/html``."""

import os
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

from sphinx.ext import autosummary

# before matplotlib and PyTorch are imported: no display; one thread, so that pages show the same numbers everywhere
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "lyapkit"
author = "the lyapkit developers"
copyright = author
release = version = installed_version("lyapkit")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "mathml",
    "own_names",
    "plain_docstrings",
]
html_theme = "furo"
html_title = f"lyapkit {release}"
html_math_renderer = "mathml"
html_show_copyright = False
html_copy_source = False
templates_path = ["_templates"]
smartquotes = False  # options begin with two hyphens
python_maximum_signature_line_length = 100
exclude_patterns = ["_build", "tutorials/*.ipynb", "tutorials/*.py", "tutorials/*.md5", "tutorials/*.zip"]

# pages
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
suppress_warnings = ["config.cache"]  # the gallery's settings hold values that cannot be pickled

# API
nitpicky = True  # a name in a docstring that leads nowhere is a warning
default_role = "py:obj"
nitpick_ignore_regex = [
    # other projects, whose lists of names would have to be fetched
    ("py:.*", r"(torch|nn|numpy|np|scipy|xarray|matplotlib|abc|collections|dataclasses|os|pathlib|typing)\..*"),
    ("py:class", r"Tensor|LinearOperator|Batch|Operator|ModuleType"),  # short names in signatures
    ("py:.*", r"bool|bytes|dict|float|int|list|object|set|str|tuple|type|\w+Error|Any|Callable|Iterable|Iterator"),
    ("py:.*", r"Literal|Mapping|Path|Sequence"),
]
autosummary_generate = True
autosummary.WELL_KNOWN_ABBREVIATIONS += ("eq.", "eqs.", "Fig.")  # do not end a sentence
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

# tutorials
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "tutorials",
    "filename_pattern": r"\.py$",  # all are executed
    "within_subsection_order": "tutorials.Position",
    "abort_on_example_error": True,
    "capture_repr": (),
    "remove_config_comments": True,
    "download_all_examples": False,
    "write_computation_times": False,
    "show_memory": False,
    "backreferences_dir": "api/uses",
    "doc_module": ("lyapkit", "wcrnn_models"),
    "min_reported_time": 1000,
}
