"""Options that name tiers, shared by the commands that relax."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .options import together

if TYPE_CHECKING:
    from aiida_fuse2.tiers import TierChoice


tier_options = together(
    click.option(
        "--tiers",
        metavar="NAMES",
        help="Tiers that structures go through in this order, e.g. pair,chgnet; the last gives the energy. Their "
        "settings, options and concurrent are changed below `tiers`, e.g. --set tiers.pair.settings.fmax=0.2.",
    ),
    click.option(
        "--tier-code",
        "tier_codes",
        multiple=True,
        metavar="TIER=LABEL",
        help="Code of a tier, e.g. gulp=gulp@cluster; can be repeated. For a tier with several codes this is its "
        "program; gulp.worker=LABEL names its worker.",
    ),
    click.option(
        "--pair-library",
        "potential",
        metavar="PK",
        help="Library of pair potentials (primary key, UUID, or job that learned it) for the tiers pair and gulp, and "
        "for ranking; `aiida-fuse2 potential learn COMPOSITION` makes one.",
    ),
)
"""Options that name tiers, their codes and their library."""


RANK_BY = click.option(
    "--rank-by",
    metavar="TIER",
    help="Potential that ranks the pool (see --ranking), even if it is none of the tiers: pair, chgnet or ase. Its "
    "settings are changed below `ranking`, e.g. --set ranking.settings.fmax=0.2.",
)


def tiers_of_options(
    names: str | None, codes: tuple[str, ...], potential: str | None, rank_by: str | None = None
) -> TierChoice | None:
    """Return the tiers that options name, or None if they name none.

    Args:
        names: separated by commas.
        codes: ``TIER=LABEL`` each.
        potential: identifier of a library.
        rank_by: tier whose potential ranks pools.

    Raises:
        InputError: if a text is no assignment, or a node is of another kind.
        SetupError: if there is no such code.
    """
    from aiida_fuse2.core.errors import InputError
    from aiida_fuse2.environment.codes import load_tier_code
    from aiida_fuse2.launch import potentials
    from aiida_fuse2.tiers import TierChoice

    if names is None:
        for option, value in (("--tier-code", codes), ("--pair-library", potential), ("--rank-by", rank_by)):
            if value:
                raise InputError(option, value, "name the tiers, too: --tiers pair,chgnet")
        return None
    loaded = {}
    for text in codes:
        tier, equals, label = text.partition("=")
        if not equals or not tier or not label:
            raise InputError("--tier-code", text, "must be TIER=LABEL, e.g. vasp=vasp@cluster")
        loaded[tier.strip()] = load_tier_code(label.strip())
    return TierChoice(
        names=[name.strip() for name in names.split(",")],
        codes=loaded,
        potential=None if potential is None else potentials.load_potential(potential),
        rank_by=rank_by,
    )
