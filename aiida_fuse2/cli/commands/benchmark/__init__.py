"""``aiida-fuse2 benchmark``: one module for each of its commands."""

from __future__ import annotations

from . import csp, quick, relax, search

__all__ = ["csp", "quick", "relax", "search"]
