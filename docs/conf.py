"""The documentation site: ``nox -s docs`` builds it, with warnings as errors and without a network.

It is made by Sphinx with MyST and Furo: MkDocs has had no release since August 2024, and Material for MkDocs is
"Inactive" by its own classifier, while Sphinx, MyST-Parser and Furo are released and maintained. And the adapters,
which are made when the package is imported, have signatures and docstrings only for what imports it, as autodoc does.
"""

from __future__ import annotations

import re
from typing import Any

import sphinx.application

import backtest_mongo

project = "backtest-mongo"
copyright = "the backtest-mongo authors, MIT license"  # noqa: A001  # Sphinx's name for it
release = version = backtest_mongo.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"backtest-mongo {release}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
#: On the pages of the reference a name alone says enough beside the text.
toc_object_entries_show_parents = "hide"
html_show_sphinx = False

#: Links go to headings as they do on the pages of a repository.
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
#: These keep their names in signatures.
autodoc_type_aliases = {
    name: f"~backtest_mongo.types.{name}"
    for name in ("Context", "Document", "Interval", "Payload", "Rows", "SeriesTime", "When")
}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

# Every name has to lead somewhere, but for those of Python and of other libraries: asking for their inventories would
# need a network.
nitpicky = True
nitpick_ignore_regex = [
    (
        "py:class",
        r"(annotated_types|collections|contextlib|datetime|decimal|os|pathlib|pydantic|pydantic_settings|typing)\..+",
    ),
    # What a class says of itself by its short name, or holds that is explained with it.
    ("py:class", r"Document|Interval|backtest_mongo\.core\.config\.MaskedDict"),
    # Texts that mask what is secret in them, and the drivers' clients.
    ("py:class", r"backtest_mongo\.core\.urls\.(MongoURI|RedisURL)"),
    ("py:class", r"MongoClient|RedisClient"),
    # The type of the value that comes with a version.
    ("py:class", r"(backtest_mongo\.types\.)?T"),
    # What upgrades payloads, which each docstring that has it explains, and the model of a generic class.
    ("py:class", r"(backtest_mongo\.core\.payload_models\.)?Upgrade|(backtest_mongo\.adapters\.shapes\.typed\.)?M"),
    # Frames are annotated by names that only type checkers import; both are explained on the page of the types.
    ("py:class", r"Kind|Fill"),
]

#: Files of the repository that are pages here. Links to other files of it become downloads.
_PAGES = {
    "../SECURITY.md": "security.md",
    "../CHANGELOG.md": "changelog.md",
    "../README.md": "index.md",
    "../examples/node_and_python/README.md": "node-and-python.md",
    # In the pages that are included from elsewhere.
    "docs/": "",
}


def _link_pages(app: sphinx.application.Sphinx, name: str, source: list[str]) -> None:
    for file, page in _PAGES.items():
        source[0] = source[0].replace(f"]({file}", f"]({page}")


def _name_aliases(app: sphinx.application.Sphinx, *described: Any) -> tuple[str, str | None] | None:
    """Name the aliases of types in signatures, within other types as well."""
    signature, returned = described[-2:]
    if signature is None:
        return None
    plain = re.compile(r"TypeAliasForwardRef\('~?([\w.]+)'\)")
    return plain.sub(r"\1", signature), None if returned is None else plain.sub(r"\1", returned)


def setup(app: sphinx.application.Sphinx) -> None:
    app.connect("source-read", _link_pages)
    app.connect("autodoc-process-signature", _name_aliases)
