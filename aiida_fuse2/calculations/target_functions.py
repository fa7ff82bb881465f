"""The calcfunction about targets. AiiDA's caching hashes this file: it only converts nodes."""

from __future__ import annotations

from aiida import orm
from aiida.engine import calcfunction

from aiida_fuse2.core.search.targets import target_trial
from aiida_fuse2.core.settings import SearchSettings, parse_settings
from aiida_fuse2.io.names import TRIALS_FILE
from aiida_fuse2.io.trials import trials_to_text


@calcfunction
def target_trials(settings: orm.Dict, software: orm.Dict, **targets: orm.StructureData) -> orm.SinglefileData:  # noqa: ARG001 - part of the hash
    """Return targets as trials that a job can relax (``fuse2.target_trials``).

    Args:
        settings: of the search.
        software: versions of the packages that this runs with.
        targets: structures of the targets, by name.
    """
    symprec = parse_settings(SearchSettings, settings.get_dict()).symmetry.report_symprec[1]
    trials = [target_trial(name, i, targets[name].get_ase(), symprec) for i, name in enumerate(sorted(targets))]
    return orm.SinglefileData.from_string(trials_to_text(trials), filename=TRIALS_FILE)
