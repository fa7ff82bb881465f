"""Make the archives of this version: ``python -m tests.archives.make_archives FOLDER``; see README.md beside it."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

EMT = {"calculator": "ase.calculators.emt.EMT", "fmax": 0.1, "max_steps": 40, "processes": 1}
"""A potential that is there wherever ASE is. Some structures need more steps than these, and fail."""

MORSE = "morse\nCu Cu 0.34 1.36 2.87 0.0 7.0\nCu Au 0.40 1.45 2.95 0.0 7.0\nAu Au 0.48 1.58 3.02 0.0 7.0\n"
"""Pair potentials of Cu and Au."""

SMALL = {"max_atoms": 8, "population_size": 4, "walkers": 2, "trials_per_step": 1, "pool": {"size": 6}}

PLAIN = {
    **SMALL,
    "seed": 7,
    "starts": {"symmetric": 1},
    "max_structures": 10,
    "disk_reserve": 0.02,
    "min_free_disk": 0.1,
    "relax_jobs": 2,
    "job_seconds": 0,
    "rmax": 50,
    "melted_move_weights": {5: 1, 13: 1, 14: 1},
    "validity": {"min_distances": {"Au-Cu": 1.5}},
}
"""A pool by a job, two jobs side by side, and settings that differ from those of the protocols."""

RUNS = {**SMALL, "seed": 3, "starts": {"fgen": 1}, "max_structures": 6, "disk_reserve": 0.0, "target": {"stol": 0.2}}

PRERELAX = {"enabled": True, "max_evaluations": 50}

TIERS = {**SMALL, "seed": 5, "starts": {"fgen": 1}, "max_atoms": 4, "max_structures": 6, "disk_reserve": 0.01}

MORE = 4
"""Structures by which the plain search and that in two tiers go on, as the tests let them."""


def leave_paths_out_of_logs():
    """Let records of logs, which archives have, name their file without the folder that it is in on this machine."""
    make_record = logging.getLogRecordFactory()

    def without_folder(*arguments, **options):
        record = make_record(*arguments, **options)
        record.pathname = record.filename
        return record

    logging.setLogRecordFactory(without_folder)


def environment(folder):
    """Load a new profile and return the worker as a code, without a path of this machine."""
    from aiida.manage.configuration import create_profile, get_config, load_profile

    storage = {"filepath": str(folder / "storage")}
    config = get_config(create=True)
    profile = create_profile(
        config, name="archives", storage_backend="core.sqlite_dos", storage_config=storage, email="fuse2@localhost"
    )
    profile.set_option("runner.poll.interval", 1)
    load_profile("archives")
    return worker_code("localhost", folder)


def worker_code(label, folder):
    """Make a computer with this label that is the present machine, and return the worker there as a code."""
    from aiida import orm

    worker = folder / "aiida-fuse2-worker"
    worker.symlink_to(Path(sys.executable).parent / "aiida-fuse2-worker")
    kinds = {"transport_type": "core.local", "scheduler_type": "core.direct"}
    computer = orm.Computer(label=label, hostname="localhost", workdir=str(folder / "jobs"), **kinds).store()
    computer.set_minimum_job_poll_interval(0.1)
    computer.set_default_mpiprocs_per_machine(1)
    computer.configure(safe_interval=0.0, use_login_shell=False)  # what a shell of the user says enters the logs
    return orm.InstalledCode(computer=computer, filepath_executable=str(worker), label=f"worker-of-{label}").store()


def finished(builder):
    """Run a process to its end and return its node."""
    from aiida.engine import run_get_node

    _, node = run_get_node(builder)
    assert node.is_finished_ok, node.exit_message
    return node


def plain_search(code):
    """Run a search of Cu3Au in one tier."""
    from aiida.plugins import WorkflowFactory

    overrides = {"settings": PLAIN, "relax": {"settings": EMT}}
    return finished(WorkflowFactory("fuse2.search").get_builder_from_protocol("Cu3Au", code, "fast", overrides))


def runs_with_a_target(code):
    """Run a search of CuAu twice, with a target, and with a pre-relaxation."""
    from aiida import orm
    from aiida.plugins import WorkflowFactory
    from ase import Atoms

    overrides = {"settings": RUNS, "relax": {"settings": {**EMT, "max_steps": 200, "prerelax": PRERELAX}}}
    builder = WorkflowFactory("fuse2.runs").get_builder_from_protocol("CuAu", code, "fast", overrides, runs=2)
    ordered = Atoms("CuAu", scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], cell=[2.8, 2.8, 3.7], pbc=True)
    builder.search.targets = {"ordered": orm.StructureData(ase=ordered)}
    return finished(builder)


def continued_search(search, folder):
    """Let a search go on with Cu3Au as D0_22, which is added."""
    from ase.build import bulk
    from ase.io import write

    from aiida_fuse2.launch.adding import add_structures
    from aiida_fuse2.launch.continuation import prepare_continuation

    ordered = bulk("Cu", "fcc", a=3.75, cubic=True).repeat((1, 1, 2))
    ordered.numbers[[0, 7]] = 79
    write(folder / "ordered.cif", ordered)
    add_structures(search, [folder / "ordered.cif"])
    changes = {"settings": {"move_weights": {14: 1.0}, "disk_reserve": 0.03}}
    return finished(prepare_continuation(search, more=MORE, overrides=changes).builder)


def search_in_tiers(code):
    """Run a search of CuAu that relaxes with pair potentials, then with EMT."""
    from aiida import orm
    from aiida.plugins import WorkflowFactory

    from aiida_fuse2.tiers import TierChoice

    library = orm.SinglefileData.from_string(MORSE, filename="CuAu.lib").store()
    overrides = {"settings": TIERS, "tiers": {"ase": {"settings": {**EMT, "fmax": 0.05, "max_steps": 200}}}}
    tiers = TierChoice(names=["pair", "ase"], potential=library)
    search = WorkflowFactory("fuse2.search")
    return finished(search.get_builder_from_protocol("CuAu", code, "fast", overrides, tiers=tiers))


def refinement(search, code):
    """Relax the three best structures of a search tightly, with EMT."""
    from aiida_fuse2.launch.refinement import prepare_refinement
    from aiida_fuse2.tiers import TierChoice

    changes = {"tiers": {"ase": {"settings": {**EMT, "fmax": 0.01, "max_steps": 500}}}}
    return finished(prepare_refinement([search], TierChoice(names=["ase"]), code=code, best=3, overrides=changes))


def export(node, archive):
    """Write a process with all that belongs to it."""
    from aiida.tools.archive import create_archive

    from tests.archives.answers import REFINEMENT, call

    if node.process_type == REFINEMENT:
        create_archive([node], filename=archive, overwrite=True)
        return
    call("export", node.uuid, "-o", archive, "--force")
    for beside in (".README.md", ".optimade.yaml"):
        archive.with_suffix(beside).unlink()


def make_archives(folder, own):
    """Write the archives, and what this version says of each, into a folder.

    Args:
        folder: for the archives.
        own: for the profile and the jobs; nothing of it is needed afterwards.
    """
    from aiida_fuse2.launch.continuation import prepare_continuation
    from tests.archives.answers import answers, found_later

    leave_paths_out_of_logs()
    code = environment(own)
    made = {"plain": plain_search(code), "runs": runs_with_a_target(code), "tiers": search_in_tiers(code)}
    made["refined"] = refinement(made["plain"], code)
    answered = {name: answers(node) for name, node in made.items()}
    for name, node in made.items():
        export(node, folder / f"{name}.aiida")
    for name in ("plain", "tiers"):
        longer = finished(prepare_continuation(made[name], more=MORE).builder)
        answered[name]["continuation"] = found_later(longer, made[name])
    made["continued"] = continued_search(made["plain"], own)  # last: what is added belongs to the search, too
    answered["continued"] = answers(made["continued"])
    export(made["continued"], folder / "continued.aiida")
    for name, values in answered.items():
        (folder / f"{name}.json").write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    with TemporaryDirectory(prefix="fuse2-") as temporary:
        os.environ["AIIDA_PATH"] = temporary  # before anything of AiiDA is imported
        target = Path(sys.argv[1])
        target.mkdir(parents=True, exist_ok=True)
        make_archives(target.resolve(), Path(temporary))
