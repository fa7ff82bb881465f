"""Sphinx configuration."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import BaseModel
from sphinx.application import Sphinx

from aiida_fuse2 import __version__

sys.path.insert(0, str(Path(__file__).parent))  # for the directives

project = "aiida-fuse2"
author = "The aiida-fuse2 developers"
copyright = f"2026, {author}"
release = version = __version__

extensions = [
    "myst_parser",
    "reference_directives",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_default_options = {
    "members": True,
    "exclude-members": "model_config",  # the same for all settings
    "ignore-module-all": True,  # __all__ would show re-exports twice
}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # else each field of a dataclass is described twice

html_theme = "furo"
html_title = f"aiida-fuse2 {release}"


def _describe_fields(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Add the fields of a settings class, which say what they are in their own descriptions."""
    if what == "class" and isinstance(obj, type) and issubclass(obj, BaseModel):
        described = {field: info.description for field, info in obj.model_fields.items() if info.description}
        lines += ["", *(f":ivar {field}: {text}" for field, text in described.items())]


def _hide_signature(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Leave out the signature of a settings class, which repeats all fields with their constraints."""
    is_model = isinstance(obj, type) and issubclass(obj, BaseModel)
    return ("", None) if is_model else (signature, returns)


def setup(app: Sphinx) -> None:
    """Connect what autodoc does not do by itself."""
    app.connect("autodoc-process-docstring", _describe_fields)
    app.connect("autodoc-process-signature", _hide_signature)
