"""The calcfunctions of a search. AiiDA's caching hashes this file: it only converts nodes for ``core``.

Each takes the versions of the packages that decide its result as ``software``, so that the cache never returns the
result of another version.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aiida import orm
from aiida.engine import calcfunction

from aiida_fuse2.core.search.deciding import decide as decide_core
from aiida_fuse2.core.search.proposing import propose as propose_core
from aiida_fuse2.core.search.state import SearchState, fit_state
from aiida_fuse2.core.settings import SearchSettings, parse_settings
from aiida_fuse2.io.names import PROTOTYPES_FILE, TRIALS_FILE
from aiida_fuse2.io.prototypes import library_from_text, prototypes_of

from . import conversions


@calcfunction
def begin(
    settings: orm.Dict,
    software: orm.Dict,  # noqa: ARG001 - part of the hash
    policy: orm.Dict | None = None,
) -> orm.Dict:
    """Return the state before the first generation (``fuse2.begin``).

    Args:
        settings: of the search.
        software: versions of the packages that this runs with.
        policy: state of a search from whose policy this one begins.
    """
    parsed = parse_settings(SearchSettings, settings.get_dict())
    state = SearchState.initial(parsed.walkers, parsed.acceptance.temperature)
    if policy is not None:
        learned = SearchState.from_dict(policy.get_dict()).learned
        state = replace(state, learned=learned.inherited())
    return orm.Dict(state.to_dict())


@calcfunction
def resume(
    settings: orm.Dict,
    state: orm.Dict,
    software: orm.Dict,  # noqa: ARG001 - part of the hash
    matches: orm.Dict | None = None,
    **structures: orm.StructureData,
) -> orm.Dict:
    """Return a state of an earlier search, changed to fit other settings or targets (``fuse2.resume``).

    Args:
        settings: settings of the continued search.
        state: state from which it continues.
        software: versions of the packages that this runs with.
        matches: for each target that was found already, by name, the structure that equals it: label, number and
            energy. Given if targets matter.
        structures: relaxed structures by label that the state needs: some may be too large now; and those in
            ``matches`` with their targets, ``target_NAME``.
    """
    parsed = parse_settings(SearchSettings, settings.get_dict())
    n_atoms = conversions.numbers_of_atoms(structures)
    fitted = fit_state(SearchState.from_dict(state.get_dict()), parsed, n_atoms)
    if matches is not None:
        found = conversions.confirmed_targets(matches.get_dict(), structures, parsed.target.stol)
        fitted = replace(fitted, targets=found)
    return orm.Dict(fitted.to_dict())


@calcfunction
def add_to_pool(
    settings: orm.Dict,
    state: orm.Dict,
    added: orm.SinglefileData,
    *,
    pool_number: orm.Int,
    software: orm.Dict,  # noqa: ARG001 - part of the hash
    pool: orm.SinglefileData | None = None,
) -> dict[str, orm.Data]:
    """Put structures before those that wait in the pool (``fuse2.add_to_pool``).

    Args:
        settings: of the search.
        state: state after the last generation, with the positions in the current pool.
        added: structures as extended XYZ, best first.
        pool_number: number of pools that the search has had before.
        software: versions of the packages that this runs with.
        pool: the current pool.

    Returns:
        ``pool``: the new pool; ``summary``: its size.
    """
    parsed = parse_settings(SearchSettings, settings.get_dict())
    reader = conversions.pool_reader(parsed, SearchState.from_dict(state.get_dict()), pool)
    text, size = conversions.merged_pool(reader, added, pool_number.value)
    return {
        "pool": orm.SinglefileData.from_string(text, filename=conversions.POOL_FILE),
        "summary": orm.Dict({"kept": size}),
    }


@calcfunction
def select_prototypes(settings: orm.Dict, library: orm.SinglefileData) -> orm.SinglefileData:
    """Return the prototypes of a library that a composition can adopt (``fuse2.select_prototypes``).

    Args:
        settings: of the search.
        library: prototypes as extended XYZ.
    """
    unit = parse_settings(SearchSettings, settings.get_dict()).unit
    text = prototypes_of(library.get_content(), list(unit.as_dict().values()))
    return orm.SinglefileData.from_string(text, filename=PROTOTYPES_FILE)


@calcfunction
def propose(
    settings: orm.Dict,
    state: orm.Dict,
    software: orm.Dict,  # noqa: ARG001 - part of the hash
    pool: orm.SinglefileData | None = None,
    **structures: orm.StructureData,
) -> dict[str, orm.Data]:
    """Propose the trials of the next generation (``fuse2.propose``).

    Args:
        settings: of the search.
        state: after the last generation.
        software: versions of the packages that this runs with.
        pool: structures waiting to enter the search.
        structures: relaxed structures by label: the walkers' current ones and those to be rattled.

    Returns:
        ``trials``: all of them as one extended XYZ file; ``proposal``: their labels, counts of rejected
        attempts, and the structures taken from the pool.
    """
    parsed = parse_settings(SearchSettings, settings.get_dict())
    before = SearchState.from_dict(state.get_dict())
    proposal = propose_core(
        parsed,
        before,
        {label: node.get_ase() for label, node in structures.items()},
        conversions.pool_reader(parsed, before, pool),
    )
    text = conversions.proposal_to_text(proposal)
    return {
        "trials": orm.SinglefileData.from_string(text, filename=TRIALS_FILE),
        "proposal": orm.Dict(conversions.proposal_to_dict(proposal, before)),
    }


@calcfunction
def recognise(
    settings: orm.Dict,
    trials: orm.SinglefileData,
    candidates: orm.Dict,
    software: orm.Dict,  # noqa: ARG001 - part of the hash
    **structures: orm.StructureData,
) -> orm.Dict:
    """Find the trials that equal a structure relaxed before (``fuse2.recognise``).

    Args:
        settings: of the search.
        trials: of the generation.
        candidates: for each label of a trial, the structures that it may equal: label and energy.
        software: versions of the packages that this runs with.
        structures: relaxed structures by label.

    Returns:
        For each such trial, by label, the label and the energy (eV/atom) of the structure that it equals.
    """
    parsed = parse_settings(SearchSettings, settings.get_dict())
    near = conversions.candidates_from_node(candidates)
    found = conversions.recognised(trials, near, structures, parsed.uniqueness.stol)
    return orm.Dict(conversions.known_to_dict(found))


@calcfunction
def decide(
    settings: orm.Dict,
    state: orm.Dict,
    trials: orm.SinglefileData,
    proposal: orm.Dict,
    *,
    software: orm.Dict,  # noqa: ARG001 - part of the hash
    candidates: orm.Dict | None = None,
    known: orm.Dict | None = None,
    prototypes: orm.SinglefileData | None = None,
    **others: orm.Data,
) -> dict[str, orm.Data]:
    """Decide on the relaxed trials of a generation (``fuse2.decide``).

    Args:
        settings: of the search.
        state: before the generation.
        trials: of the generation.
        proposal: counts of the proposal.
        software: versions of the packages that this runs with.
        candidates: for each label, the earlier structures that it may equal.
        known: trials that were not relaxed, from ``fuse2.recognise``.
        prototypes: structure types by which relaxed structures are named.
        others: ``results_NN`` and ``relaxed_NN`` of each relaxation job, the structures named in
            ``candidates`` by label, and the targets that have not been found, ``target_NAME``.

    Returns:
        ``state``: of the search after the generation; ``record``: rows of the generation, as columns.
    """
    parsed = parse_settings(SearchSettings, settings.get_dict())
    generation = conversions.Generation.from_nodes(trials, candidates, others)
    library = None if prototypes is None else library_from_text(prototypes.get_content())
    decision = decide_core(
        parsed,
        SearchState.from_dict(state.get_dict()),
        generation.trials,
        generation.relaxations,
        candidates=generation.candidates,
        same=generation.comparison(parsed.uniqueness.stol),
        n_atoms=generation.n_atoms,
        rejections=proposal["rejections"],
        pool=conversions.pool_of_proposal(proposal.get_dict()),
        known=conversions.known_from_node(known),
        targets=generation.target_finder(parsed.target.stol),
        name=conversions.namer(generation.geometries, library, parsed.symmetry.report_symprec[1]),
    )
    return {
        "state": orm.Dict(decision.state.to_dict()),
        "record": orm.Dict(conversions.rows_to_columns(decision.record)),
    }


@calcfunction
def summarise(
    settings: orm.Dict,
    state: orm.Dict,
    software: orm.Dict,  # noqa: ARG001 - part of the hash
    **records: orm.Dict,
) -> dict[str, orm.Data]:
    """Summarise a search from its records (``fuse2.summarise``).

    Args:
        settings: of the search.
        state: the last one.
        software: versions of the packages that this runs with.
        records: records of all generations, ``generation_NNNNN``.

    Returns:
        ``history``: one row per trial in the order of the generations; ``ranked``: the unique explored
        structures, lowest energy first; ``energy``: energy of the best, eV/atom, if there is one.
    """
    columns = [records[name].get_dict() for name in sorted(records)]
    unit = parse_settings(SearchSettings, settings.get_dict()).unit
    rows = conversions.history_rows(columns)
    outputs: dict[str, orm.Data] = {
        "history": conversions.rows_to_array(rows),
        "ranked": orm.Dict({"structures": conversions.rank(rows, unit)}),
    }
    if state["best"]:
        outputs["energy"] = orm.Float(state["best"]["energy"])
    return outputs


@calcfunction
def pool_from_structures(settings: orm.Dict, **structures: orm.StructureData) -> dict[str, orm.Data]:
    """Make a pool of structures that are in the graph already (``fuse2.pool_from_structures``).

    Args:
        settings: of the search; structures that do not fit it are omitted and named.
        structures: in the order of their keys.

    Returns:
        ``pool``: the structures that fit, as extended XYZ; ``summary``: how many were kept, and why others were not.
    """
    parsed = parse_settings(SearchSettings, settings.get_dict())
    named: list[tuple[str, Any]] = [(name, structures[name].get_ase()) for name in sorted(structures)]
    text, summary = conversions.provided_pool(parsed, named)
    return {
        "pool": orm.SinglefileData.from_string(text, filename=conversions.POOL_FILE),
        "summary": orm.Dict(summary),
    }
