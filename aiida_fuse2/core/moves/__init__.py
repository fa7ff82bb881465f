"""The moves of basin hopping (paper section 2.2, and others): one small function each, and their registry."""

from __future__ import annotations

from .base import Move, MoveContext, MoveFunction, make_crystal
from .clear import cleared
from .registry import OWN, PAPER, find_move, get_move, move_names, ordered

__all__ = [
    "OWN",
    "PAPER",
    "Move",
    "MoveContext",
    "MoveFunction",
    "cleared",
    "find_move",
    "get_move",
    "make_crystal",
    "move_names",
    "ordered",
]
