"""Parts of a stored search that run code of others, and whether this profile has run the same before.

A node does not show where it comes from: an archive can contain any UUID, user, extra and group. So content is
compared. Each search that is submitted here stores the fingerprints of what it runs in the global settings of the
profile, which no archive changes. A continued search runs only what has run here, or what the user has seen and trusts;
and codes and options of jobs, which belong to a machine, are never taken from another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiida import orm

from aiida_fuse2.core import generators, moves
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.settings import CHGNET, PAIR, stored_starts
from aiida_fuse2.parsers.memory import (
    FILE,
    OPTIONS,
    SETTINGS,
    WORKER,
    Part,
    checksum,
    code_part,
    has_run,
    model_part,
)
from aiida_fuse2.query.links import SECOND_LINK
from aiida_fuse2.query.tiers import options_of, tier_ports
from aiida_fuse2.tiers import RANKING, own_tier_names
from aiida_fuse2.tiers.base import ASE

from .codes import default_worker

RUNNABLE = ("calculator", "arguments", "overrides", "incar", "parameters")
"""Settings of the tiers of this package that name code, or are passed to other plugins and programs unchanged."""


class UntrustedError(InputError):
    """A stored search would run parts that have never run in this profile.

    Attributes:
        parts: all of these parts.
    """

    def __init__(self, search: int, parts: tuple[Part, ...]) -> None:
        self.parts = parts
        shown = "; ".join(map(str, parts))
        super().__init__("search", search, f"would run what has never run in this profile, see --trust: {shown}")

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        """Pickle with both arguments."""
        return type(self), (self.value, self.parts)


def parts_of(search: orm.WorkChainNode) -> list[Part]:
    """Return all parts of a search, with its options and its codes except the worker of this installation."""
    codes: list[tuple[orm.AbstractCode, str]] = []
    found: list[Part] = []
    if "generate" in search.inputs:
        codes.append((search.inputs.generate.code, WORKER))
        found.append(options_part(options_of(search, "generate"), "generate.metadata.options"))
    for key, ports in tier_ports(search).items():
        codes += [(code, program) for program, code in ports.get("codes", {}).items()]
        if "options" in ports:
            found.append(options_part(ports["options"].get_dict(), f"tiers.{key}.options"))
    for key, ports in _second(search).items():
        codes += [(code, program) for program, code in ports.get("codes", {}).items()]
        if "options" in ports:
            found.append(options_part(ports["options"].get_dict(), f"{key}.options"))
    found += [code_part(code, program) for code, program in codes if not _is_plain_worker(code)]
    return [*found, *_carried_parts(search)]


def foreign_parts(search: orm.WorkChainNode) -> tuple[Part, ...]:
    """Return the parts that a continuing search would take over and that have not run in this profile."""
    return tuple(part for part in _carried_parts(search) if not has_run(part))


def options_part(options: Mapping[str, Any], where: str = "options") -> Part:
    """Return options of jobs as a part."""
    return Part(kind=OPTIONS, where=where, value=dict(options))


def own_code(code: orm.AbstractCode | None, program: str = WORKER) -> orm.AbstractCode | None:
    """Return a code if it has run as this program in this profile, or is the worker of this installation."""
    if code is None or not (_is_plain_worker(code) or has_run(code_part(code, program))):
        return None
    return code


def _is_plain_worker(code: orm.AbstractCode) -> bool:
    """Return whether a code only starts the worker beside this Python."""
    if not isinstance(code, orm.InstalledCode) or code.filepath_executable != default_worker():
        return False
    texts = (code.prepend_text, code.append_text, code.computer.get_prepend_text(), code.computer.get_append_text())
    return not any(texts) and code.computer.transport_type == "core.local"


def _carried_parts(search: orm.WorkChainNode) -> list[Part]:
    """Return the parts that do not belong to a machine."""
    settings = search.inputs.settings.get_dict()
    named = [("starts", name) for name in stored_starts(settings)]
    found = [
        Part(kind=SETTINGS, where=f"settings.{key}", value=name)
        for key, name in [*named, ("random_generator", settings.get("random_generator"))]
        if name is not None and name not in generators.OWN
    ]
    found += [
        Part(kind=SETTINGS, where=f"settings.{key}", value={"move": name})
        for key in ("move_weights", "melted_move_weights")
        for name in settings.get(key) or {}
        if name not in moves.OWN
    ]
    ports_of = {f"tiers.{key}": ports for key, ports in tier_ports(search).items()} | _second(search)
    for where in ("generate", RANKING):
        if where in search.inputs:
            ports_of[where] = search.inputs[where]
    for where, ports in ports_of.items():
        if "settings" in ports:
            name = ports["name"].value if "name" in ports else ASE
            found += _settings_parts(name, ports["settings"].get_dict(), f"{where}.settings")
        files = [(key, ports[key]) for key in ("potential", "weights") if key in ports]
        found += [
            Part(kind=FILE, where=f"{where}.{key}", value=checksum(node))
            for key, node in files
            if not has_run(model_part(node))
        ]
    return found


def _second(search: orm.WorkChainNode) -> dict[str, dict[str, Any]]:
    """Return the inputs of the second potential of a search by their path; empty if it has none."""
    if SECOND_LINK not in search.inputs:
        return {}
    ports = search.inputs[SECOND_LINK]
    return {f"{SECOND_LINK}.{key}": dict(ports[key]) for key in ports}


def _settings_parts(tier: str, settings: Mapping[str, Any], where: str) -> list[Part]:
    """Return the settings of a tier that run code."""
    if tier not in own_tier_names():
        return [Part(kind=SETTINGS, where=where, value={"tier": tier, **settings})]
    given = {key: settings[key] for key in RUNNABLE if settings.get(key)}
    if given.get("calculator") in {CHGNET, PAIR}:
        del given["calculator"]
        given.pop("arguments", None)
    return [Part(kind=SETTINGS, where=where, value=given)] if given else []
