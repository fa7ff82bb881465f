"""``aiida-fuse2 benchmark``: one module for each of its commands."""

from __future__ import annotations

from . import csp, potentials, quick, relax, search

__all__ = ["csp", "potentials", "quick", "relax", "search"]
