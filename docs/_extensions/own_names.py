"""Names of this project in docstrings: a short name finds its page, and one that does not exist is a warning.

A name that exists and has no page, such as a module that a reader of the source would open, stays as it is written.
"""

from __future__ import annotations

import re
from importlib import import_module

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import get_node_source, make_refnode


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement) -> nodes.Node | None:
    """What stands for a reference that Sphinx has not found: a link, the name alone, or None, which is a warning."""
    if node["refdomain"] != "py":
        return None
    name, home = node["reftarget"], _home(node)
    package = (home or node.get("py:module") or "").partition(".")[0]
    pages = {  # an object may be listed under several names
        (page.docname, page.node_id): full
        for full, page in env.domains.python_domain.objects.items()
        if full.startswith(f"{package}.") and full.endswith(f".{name}")
    }
    if len(pages) == 1:
        ((document, anchor), full) = pages.popitem()
        return make_refnode(app.builder, node["refdoc"], document, anchor, contnode, full)
    in_summary = "<autosummary>" in (get_node_source(node) or "")  # a first line, which its own page checks
    return contnode if in_summary or any(_exists(f"{start}{name}") for start in _starts(home)) else None


def _home(node: pending_xref) -> str:
    """The full name of the object in whose docstring a reference stands, or nothing."""
    source = re.search(r"docstring of ([\w.]+)", get_node_source(node) or "")
    return source[1] if source else ""


def _starts(home: str) -> list[str]:
    """What a name may be relative to: nothing, the object, what holds it, the module, the packages."""
    parts = home.split(".")
    return ["", *(".".join(parts[:count]) + "." for count in range(len(parts), 0, -1) if home)]


def _exists(name: str) -> bool:
    parts = name.split(".")
    if parts[0] not in ("lyapkit", "wcrnn_models"):
        return False
    found: object = import_module(parts[0])
    for count, part in enumerate(parts[1:], start=2):
        try:  # modules before attributes: `lyapkit.analyze` is both
            found = import_module(".".join(parts[:count]))
        except ImportError:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
    return True


def setup(app: Sphinx) -> dict[str, bool]:
    """Run after Sphinx's own search."""
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
