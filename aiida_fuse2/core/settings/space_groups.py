"""Selections of space groups, such as ``2-230``, ``1`` or ``16-74, 225``."""

from __future__ import annotations

import re
from functools import lru_cache

N_SPACE_GROUPS = 230
"""Number of space groups."""

P1 = 1
"""The space group without symmetry."""

MAX_TEXT = 2000
"""Longest selection that is read, characters."""

_PART = re.compile(r"(\d{1,3})(?:\s*-\s*(\d{1,3}))?")


@lru_cache(maxsize=64)
def parse_space_groups(text: str) -> tuple[int, ...]:
    """Return the numbers of a selection, in order and each once.

    Raises:
        ValueError: if the text is not a selection.
    """
    if len(text) > MAX_TEXT:
        raise ValueError(f"is longer than {MAX_TEXT} characters")
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise ValueError("must be numbers and ranges of space groups, e.g. '2-230', '1' or '16-74, 225'")
        first = int(match[1])
        last = int(match[2] or first)
        if not 1 <= first <= last <= N_SPACE_GROUPS:
            raise ValueError(f"{part.strip()}: space groups are numbered 1 to {N_SPACE_GROUPS}")
        found.update(range(first, last + 1))
    return tuple(sorted(found))
