"""Settings that earlier versions of this package stored, as the current one reads them.

If a setting is removed or changes its meaning, `VERSION` is raised, and one line of `STEPS` converts it. New settings
need neither: they get the default of the protocol.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

from aiida_fuse2.core.errors import InputError

VERSION: Literal[4] = 4
"""Version of the settings of searches and of their relaxation; settings without a version are of version 1."""

Values = dict[str, Any]


def _without(*names: str) -> Callable[[Values], Values]:
    return lambda values: {name: value for name, value in values.items() if name not in names}


def _starts(values: Values) -> Values:
    """Replace the only generator by a mapping of shares; settings of a relaxation have none."""
    found = dict(values)
    if "generator" in found:
        name = found.pop("generator")
        found["starts"] = {name: 1} if isinstance(name, str) else name
    return found


def _paper_generator(values: Values) -> Values:
    """Give the original generator the name that it has since ``fgen`` keeps ions apart."""
    found = dict(values)
    if found.get("random_generator") == "fgen":
        found["random_generator"] = "fgen_paper"
    starts = found.get("starts")
    if isinstance(starts, str):
        found["starts"] = re.sub(r"(?<![\w.-])fgen(?![\w.-])", "fgen_paper", starts)
    elif isinstance(starts, Mapping):
        found["starts"] = {"fgen_paper" if name == "fgen" else name: share for name, share in starts.items()}
    return found


def _version_4(values: Values) -> Values:
    """Keep what version 3 searched with: the original generator, no new starts, equal chances of sizes, small rattles.

    Settings of a relaxation have none of this.
    """
    found = _paper_generator(values)
    if "acceptance" in found:
        found = {"new_share": 0.0, "size_bias": 0.0, "finish": 0, **found}
        found["acceptance"] = {"restart_threshold": None, **found["acceptance"]}
    if "rattle" in found.get("symmetry", {}):
        found["symmetry"] = {"rattle_copies": found["symmetry"]["rattle"], **found["symmetry"]}
    return found


STEPS: Mapping[int, Callable[[Values], Values]] = {
    1: _without("disk_reserve", "prerelax"),
    2: _starts,
    3: _version_4,
}
"""Conversions from each version to the next one."""


def migrated(values: Mapping[str, Any]) -> Values:
    """Return settings of a search, or of its relaxation, in the form of this version.

    Args:
        values: settings as stored in the graph.

    Raises:
        InputError: if a later version has made them.
    """
    found = dict(values)
    version = found.pop("version", 1)
    if not isinstance(version, int) or not 1 <= version <= VERSION:
        raise InputError("settings.version", version, f"must be 1 to {VERSION}; a later aiida-fuse2 reads more")
    for step in range(version, VERSION):
        found = STEPS[step](found)
    return {"version": VERSION, **found}
