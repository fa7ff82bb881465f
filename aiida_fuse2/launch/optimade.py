"""Structures of an OPTIMADE server, which is asked only when the user names it.

OPTIMADE: M. L. Evans et al., Digital Discovery 2024, 3, 1509, DOI 10.1039/D4DD00039K. The client is that of
``optimade-python-tools``; what a server sends is bounded in size and time.
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import numpy as np
from ase import Atoms

from aiida_fuse2.core.errors import InputError, one_line, printable, storable
from aiida_fuse2.core.prototypes.gathering import PARTIAL, UNREADABLE, Given

from .library_sources import LibrarySource

SCHEMES = ("https", "http")

DEFAULT_LIMIT = 1000
"""Number of structures that are asked for at most, if the user says nothing."""

MAX_LIMIT = 100_000
"""Largest number of structures that can be asked for."""

MAX_ANSWER_BYTES = 50 * 1024**2
"""Largest answer of a server; a page of a hundred structures takes 1 MB."""

MAX_BYTES = 2 * 1024**3
"""Largest size of all answers together."""

ANSWER_SECONDS = 60.0
"""Longest wait for a part of an answer, s."""

TOTAL_SECONDS = 1800.0
"""Longest time that a server may take for everything, s."""

RETRIES = 3
"""Number of further requests to a server that has too many of them."""

FIELDS = (
    "lattice_vectors",
    "cartesian_site_positions",
    "species",
    "species_at_sites",
    "dimension_types",
    "structure_features",
)
"""Fields of the structures that are asked for."""

NOT_ORDERED = frozenset({"disorder", "assemblies"})
"""Features of structures whose sites are not full, or alternatives."""

IN_URLS = "&#+%"
"""Characters with a meaning in an address, which the client does not encode."""

NO_LICENCE = "not stated by the provider"


@dataclass(frozen=True)
class _Answer:
    """What the client reads of an answer."""

    status_code: int
    url: str
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


def structures_of_server(address: str, query: str, limit: int = DEFAULT_LIMIT) -> LibrarySource:
    """Return the structures that an OPTIMADE server gives for a filter.

    Args:
        address: base address of the server, e.g. ``https://example.org/optimade``.
        query: OPTIMADE filter, e.g. ``elements HAS "O" AND nelements=2``.
        limit: largest number of structures.

    Raises:
        InputError: if the address or the filter is wrong, the client is not installed, or the server cannot be reached,
            is too slow, or sends too much, nothing, or something else.
    """
    _check(address, query, limit)
    results: dict[str, Any] = {}
    asking = threading.Thread(target=_ask, args=(address, query, limit, results), daemon=True)
    with redirect_stderr(io.StringIO()):  # the client prints errors even if it is to be silent
        asking.start()
        asking.join(TOTAL_SECONDS)  # a server that sends a byte now and then would never end
    if asking.is_alive():
        raise InputError("ADDRESS", address, f"has not answered in full within {TOTAL_SECONDS:.0f} s")
    for name in ("info", "structures"):
        problem = results.get(f"{name}_error")
        if problem is not None:
            raise InputError("ADDRESS", address, f"is no OPTIMADE server that answers as it should: {problem}")
    entries = results["structures"]
    if not entries:
        raise InputError("--filter", query, "the server has no structure for it")
    provider, prefix, licence = _provider(results["info"], results["meta"])
    kept = json.dumps(entries, sort_keys=True, default=str).encode()
    return LibrarySource(
        kind="optimade",
        where=address,
        sha256=hashlib.sha256(kept).hexdigest(),
        number=len(entries),
        structures=lambda: (_given(entry, provider, prefix, address) for entry in entries),
        more={"filter": printable(query), "provider": provider, "licence": licence, "available": results["available"]},
    )


def _check(address: str, query: str, limit: int) -> None:
    """Refuse what can be refused before a server is asked."""
    try:
        parts = urlsplit(address)
        is_right = parts.scheme in SCHEMES and bool(parts.hostname) and not parts.query and not parts.fragment
    except ValueError:
        is_right = False
    if not is_right:
        raise InputError("ADDRESS", address, "must be the base address of an OPTIMADE server, e.g. https://example.org")
    if not 1 <= limit <= MAX_LIMIT:
        raise InputError("--limit", limit, f"must be between 1 and {MAX_LIMIT}")
    try:
        import optimade.client  # noqa: F401 - whether it is there
        from optimade.exceptions import BadRequest
        from optimade.filterparser import LarkParser, ParserError
    except ImportError as error:
        expected = f"needs a package: pip install 'aiida-fuse2[optimade]' ({one_line(error)})"
        raise InputError("prototypes fetch", address, expected) from error
    if any(character in query for character in IN_URLS) or not query.isprintable():
        raise InputError("--filter", query, f"must be one line without the characters {IN_URLS}")
    try:
        LarkParser().parse(query)
    except (BadRequest, ParserError, RecursionError) as error:
        expected = f'must be a filter of OPTIMADE, e.g. elements HAS "O" AND nelements=2 ({one_line(error, 200)})'
        raise InputError("--filter", query, expected) from error


def _ask(address: str, query: str, limit: int, results: dict[str, Any]) -> None:
    """Ask a server for its description and its structures; what went wrong is among the results."""
    from optimade.client import OptimadeClient

    session = _bounded_session(urlsplit(address).hostname)
    try:
        client = OptimadeClient(
            [address], max_results_per_provider=limit, http_client=session, use_async=False, silent=True
        )
        for name, options in (("info", {"paginate": False}), ("structures", {"response_fields": list(FIELDS)})):
            found = client.get_one(name, query if name == "structures" else "", address, **options)[address]
            if found.errors:
                results[f"{name}_error"] = one_line("; ".join(map(str, found.errors)), 300)
                return
            results[name], results["meta"] = found.data, found.meta
        if not isinstance(results["structures"], list) or not isinstance(results["info"], dict):
            results["structures_error"] = "its answers have other fields"
            return
        results["structures"] = results["structures"][:limit]
        number = results["meta"].get("data_returned")
        results["available"] = number if isinstance(number, int) else None
    except Exception as error:  # noqa: BLE001 - a server can send anything, and this is a thread
        results["structures_error"] = one_line(f"{type(error).__name__}: {error}", 300)


def _bounded_session(host: str | None) -> type[Any]:
    """Return a class of sessions that ask one host, and whose answers are bounded: others read whatever comes."""
    import requests

    class Session(requests.Session):
        """A session that reads so much and no more."""

        received = 0

        def get(self, url: str | bytes, **_: Any) -> Any:
            """Return the answer of an address.

            Raises:
                OSError: if it is too large, leads to another server, or cannot be had.
            """
            for attempt in range(RETRIES + 1):
                if urlsplit(str(url)).hostname != host:
                    raise OSError(f"leads to another server, which you can name instead: {printable(url, 200)}")
                with super().get(url, stream=True, timeout=ANSWER_SECONDS, allow_redirects=False) as answer:
                    content = self._read(answer)
                if answer.is_redirect:
                    url = urljoin(answer.url, answer.headers["Location"])
                elif answer.status_code == requests.codes.too_many_requests:
                    time.sleep(attempt)
                else:
                    return _Answer(answer.status_code, answer.url, content)
            raise OSError("has too many requests of others, or leads round in a circle; try again later")

        def _read(self, answer: requests.Response) -> bytes:
            content = bytearray()
            for part in answer.iter_content(64 * 1024):
                content += part
                if len(content) > MAX_ANSWER_BYTES or self.received + len(content) > MAX_BYTES:
                    raise OSError(f"sends more than {MAX_ANSWER_BYTES // 1024**2} MB at once, or too much in all")
            self.received += len(content)
            return bytes(content)

    return Session


# --- what a server says ---------------------------------------------------------------------------


def _provider(info: Mapping[str, Any], meta: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return name and prefix of the provider, and the licence of its data, as it states them."""
    provider = meta.get("provider")
    provider = provider if isinstance(provider, Mapping) else {}
    attributes = info.get("attributes")
    attributes = attributes if isinstance(attributes, Mapping) else {}
    stated = [*_texts(attributes.get("available_licenses")), *_texts(attributes.get("available_licenses_for_entries"))]
    link = attributes.get("license")
    link = link.get("href") if isinstance(link, Mapping) else link
    stated += [link] if isinstance(link, str) else []
    licence = printable(", ".join(dict.fromkeys(stated)), 500) or NO_LICENCE
    return (
        printable(provider.get("name") or "unknown provider", 100),
        printable(provider.get("prefix") or "optimade", 30),
        licence,
    )


def _texts(values: Any) -> list[str]:
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []


def _given(entry: Any, provider: str, prefix: str, address: str) -> Given:
    """Return the structure of an entry."""
    entry = entry if isinstance(entry, Mapping) else {}
    number = printable(storable(entry.get("id", "without id")), 100)
    atoms, reason, detail = None, UNREADABLE, ""
    try:
        values = entry["attributes"]
        if _is_disordered(values):
            reason, detail = PARTIAL, "has sites that are shared or not full"
        else:
            atoms = _atoms(values)
    except Exception as error:  # noqa: BLE001 - any content
        detail = f"has fields that make no structure: {one_line(error, 200)}"
    source = f"{provider} {number}, {printable(address)}"
    return Given(key=f"{prefix}:{number}", source=source, atoms=atoms, reason=reason, detail=detail)


def _is_disordered(values: Mapping[str, Any]) -> bool:
    """Return whether a structure has sites that are not full, shared, or alternatives."""
    mixed = any(len(species["chemical_symbols"]) != 1 for species in values["species"])
    return mixed or bool(NOT_ORDERED.intersection(values.get("structure_features") or ()))


def _atoms(values: Mapping[str, Any]) -> Atoms:
    """Return the structure of the fields of an entry.

    Raises:
        ValueError: if there is none in them.
    """
    symbols: dict[str, str] = {}
    for species in values["species"]:
        if any(species.get("attached") or ()):
            raise ValueError("atoms without positions are attached to a site")
        symbols[species["name"]] = species["chemical_symbols"][0]
    names: Sequence[str] = values["species_at_sites"]
    positions = np.array(values["cartesian_site_positions"], dtype=float)
    cell = np.array(values["lattice_vectors"], dtype=float)
    if positions.shape != (len(names), 3) or cell.shape != (3, 3):
        raise ValueError("sites and positions differ in number")
    periodic = values.get("dimension_types") or [1, 1, 1]
    return Atoms([symbols[name] for name in names], positions=positions, cell=cell, pbc=[bool(d) for d in periodic])
