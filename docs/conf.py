"""Configuration of the site: ``sphinx-build -W --keep-going -b html docs docs/_build/html``."""

import os
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

from sphinx.ext import autosummary
from sphinx_gallery.sorting import ExplicitOrder

import wcrnn_models

# before matplotlib and PyTorch are imported: no display; one thread, so that pages show the same numbers everywhere
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

# rooms whose public names are shorter than where they lie; Sphinx imports what it documents by its name
sys.modules["wcrnn_models.residuals"] = wcrnn_models.residuals
sys.modules["wcrnn_models.baselines"] = wcrnn_models.baselines

project = "lyapkit"
author = "the lyapkit developers"
copyright = author
release = version = installed_version("lyapkit")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "myst_parser",
    "mathml",
    "plain_docstrings",
]
html_theme = "furo"
html_title = f"lyapkit {release}"
html_math_renderer = "mathml"
html_show_copyright = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_line_continuation_character = "\\"
templates_path = ["_templates"]
smartquotes = False  # options begin with two hyphens
python_maximum_signature_line_length = 100
exclude_patterns = [
    "_build",
    "tutorials/*.ipynb",
    "tutorials/*.py",
    "tutorials/*.md5",
    "tutorials/*.zip",
]

# pages
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 3
myst_dmath_double_inline = True
suppress_warnings = [
    "config.cache"
]  # the gallery's settings hold values that cannot be pickled

# API
default_role = "py:obj"  # names that have no page stay text; tests/test_site.py checks that they exist
autosummary_generate = True
autosummary.WELL_KNOWN_ABBREVIATIONS += ("eq.", "eqs.", "Fig.")  # do not end a sentence
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

# tutorials, from a first look at a network to many networks on a cluster
TUTORIALS = [
    "analyse_your_lstm.py",
    "whole_models.py",
    "is_it_chaotic.py",
    "a_language_model.py",
    "fixed_points_of_a_memory.py",
    "compare_two_networks.py",
    "choose_a_residual.py",
    "exponents_while_training.py",
    "gradient_flossing.py",
    "properties_of_your_network.py",
    "sweep_on_a_cluster.py",
]
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "tutorials",
    "filename_pattern": r"\.py$",  # all are executed
    "within_subsection_order": ExplicitOrder(
        TUTORIALS
    ),  # one that is not listed fails the build
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
