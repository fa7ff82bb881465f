"""The moves of basin hopping (paper section 2.2): one small function each, and their registry."""

from __future__ import annotations

from .base import Move, MoveContext, MoveFunction, make_crystal
from .registry import OWN, find_move, get_move, move_names, ordered

__all__ = [
    "OWN",
    "Move",
    "MoveContext",
    "MoveFunction",
    "find_move",
    "get_move",
    "make_crystal",
    "move_names",
    "ordered",
]
