"""The 14 moves of basin hopping (paper section 2.2): one small function each, and their registry."""

from __future__ import annotations

from .base import Move, MoveContext, MoveFunction
from .registry import MOVES

__all__ = ["MOVES", "Move", "MoveContext", "MoveFunction"]
