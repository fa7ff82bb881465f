"""What is said about a phase in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aiida_fuse2.core.prototypes.naming import UNKNOWN

from .ladder import Rung
from .settings import AnswerSettings
from .stability import Stability

RESOLVED = 5e-5
"""Smallest difference of energies that is told, eV/atom."""


def statement(
    rungs: Sequence[Rung],
    answer: int,
    settings: AnswerSettings,
    *,
    name: str = "",
    stability: Stability | None = None,
    program: str = "",
) -> str:
    """Return the answer in words, with the lowest rung if it is another one, and those of higher symmetry.

    Example: ``Pm-3m (Perovskite); R3m distortion 0.5 meV/atom lower, less than the error of the potential``.

    Args:
        rungs: rungs of a phase.
        answer: index of the answer.
        settings: settings of the answer.
        name: structure type; empty if it is not known.
        stability: of the answer, if it was examined.
        program: program of the last tier if the answer was not relaxed within its symmetry.
    """
    chosen = rungs[answer]
    lowest = min(rung.energy for rung in rungs)
    sentences = []
    if lowest < chosen.energy - RESOLVED:
        ground = max((r for r in rungs if r.energy < lowest + RESOLVED), key=lambda r: (r.order, -r.energy))
        sentences.append(_lower(ground, chosen))
    above = [rung for rung in rungs if rung.order > chosen.order + 1e-6]
    sentences += [_higher(rung, chosen, settings) for rung in _by_group(above)]
    if stability is not None and not stability.is_stable:
        wave, softest = min(stability.unstable.items(), key=lambda item: item[1])
        sentences.append(f"unstable against small displacements ({-softest:.1f}i THz at {wave})")
    if program and chosen.tolerance:
        sentences.append(f"not relaxed within its symmetry: the last tier is {program}")
    return "; ".join([named(chosen.symbol, name), *sentences])


def named(symbol: str, name: str) -> str:
    """Return a space group with a structure type, without the compound of the type; without it if it is not known."""
    return symbol + (f" ({name.partition(' (')[0]})" if name and not name.startswith(UNKNOWN) else "")


def _by_group(rungs: Iterable[Rung]) -> list[Rung]:
    """Return the lowest rung of each space group, lowest first."""
    lowest: dict[int, Rung] = {}
    for rung in sorted(rungs, key=lambda rung: rung.energy):
        lowest.setdefault(rung.number, rung)
    return list(lowest.values())


def _lower(rung: Rung, chosen: Rung) -> str:
    below = f"{1000 * (chosen.energy - rung.energy):.1f} meV/atom lower"
    return f"{rung.symbol} distortion {below}, less than the error of the potential"


def _higher(rung: Rung, chosen: Rung, settings: AnswerSettings) -> str:
    rise = rung.energy - chosen.energy
    if rise > settings.energy or rung.displacement <= settings.max_displacement:
        return f"{rung.symbol} lies {1000 * rise:.1f} meV/atom higher: a saddle point"
    away = f"{rung.displacement:.2f} Å away"
    return f"{rung.symbol} is {away} at {1000 * rise:+.1f} meV/atom: another structure"
