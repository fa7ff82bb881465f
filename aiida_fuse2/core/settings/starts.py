"""Shares of the generators that make the starting structures of a search: as people write them, and as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .migration import migrated


def shares_of_text(text: str) -> dict[str, str]:
    """Return the shares in a text such as ``symmetric`` or ``gnoa=0.2,fgen=0.8``; a name alone has the share 1.

    Raises:
        ValueError: if a name is empty or given twice.
    """
    found: dict[str, str] = {}
    for part in text.split(","):
        name, equals, share = (piece.strip() for piece in part.partition("="))
        if not name or name in found:
            raise ValueError("must be names of generators, each once, with their shares, e.g. gnoa=0.2,fgen=0.8")
        found[name] = share if equals else "1"
    return found


def shares_text(shares: Mapping[str, float]) -> str:
    """Return generators with their shares for people, the largest share first: ``fgen``, ``fgen 75 % + gnoa 25 %``.

    Args:
        shares: share of each generator, relative.
    """
    if len(shares) == 1:
        return next(iter(shares))
    total = sum(shares.values()) or 1.0
    ordered = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    return " + ".join(f"{name} {100 * share / total:.3g} %" for name, share in ordered)


def stored_starts(settings: Mapping[str, Any]) -> dict[str, float]:
    """Return the shares in the settings of a search of any version; none if they cannot be read as such.

    Args:
        settings: settings as stored in the graph; they may have been written by anybody.
    """
    try:
        starts = migrated(settings).get("starts")
        shares = shares_of_text(starts) if isinstance(starts, str) else dict(starts or {})
        return {str(name): float(share) for name, share in shares.items()}
    except (TypeError, ValueError, OverflowError):
        return {}
