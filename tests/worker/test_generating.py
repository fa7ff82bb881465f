from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from ase.build import bulk

import aiida_fuse2
from aiida_fuse2.core.crystal.uniqueness import are_equal
from aiida_fuse2.core.crystal.validity import check_validity
from aiida_fuse2.core.generators import SingleGenerator
from aiida_fuse2.core.generators.registry import GENERATORS
from aiida_fuse2.core.search.pool import ORIGIN, POOL_NUMBER
from aiida_fuse2.core.search.trials import trial_label
from aiida_fuse2.io.names import ERROR_FILE, JOB_FILE, POOL_FILE, RESULTS_FILE, SUMMARY_FILE, TRIALS_FILE
from aiida_fuse2.io.trials import from_extxyz, trials_to_text
from aiida_fuse2.worker import main
from aiida_fuse2.worker.generating import fill_pool
from tests.conftest import EMT
from tests.trials import make_trial

SIZE = 4
AIIDA_PACKAGES = ("aiida", "plumpy", "kiwipy", "circus", "alembic", "sqlalchemy", "disk_objectstore")


@pytest.fixture
def job(tmp_path, monkeypatch, search_settings):
    monkeypatch.chdir(tmp_path)

    def run(pool_number=0, **changes):
        settings = search_settings(**{"max_atoms": 10, "pool": {"size": SIZE}, **changes})
        job = {"settings": settings.model_dump(mode="json"), "pool_number": pool_number}
        (tmp_path / JOB_FILE).write_text(json.dumps(job))
        code = main(["generate"])
        return code, settings

    return run


@pytest.mark.parametrize("generator", ["symmetric", "fgen"])
def test_pool_is_valid_and_repeatable(job, tmp_path, generator):
    code, settings = job(starts=generator)
    assert code == 0
    text = (tmp_path / POOL_FILE).read_text()
    frames = from_extxyz(text)
    summary = json.loads((tmp_path / SUMMARY_FILE).read_text())
    assert summary["kept"] == len(frames) == SIZE
    assert summary["tried"] == SIZE + sum(summary["rejected"].values())
    for frame in frames:
        assert (frame.info[ORIGIN], frame.info[POOL_NUMBER]) == (generator, 0)
        limits = {"unit": settings.unit, "radii": settings.resolved_radii, "max_atoms": 10}
        assert check_validity(frame, **limits, settings=settings.validity) is None
    job(starts=generator)
    assert (tmp_path / POOL_FILE).read_text() == text


def test_next_pool_differs(job, tmp_path):
    job(starts="fgen")
    first = (tmp_path / POOL_FILE).read_text()
    job(starts="fgen", pool_number=1)
    assert (tmp_path / POOL_FILE).read_text() != first


def test_unknown_generator_is_refused(job, tmp_path):
    code, _ = job(starts="oracle")
    assert code == 2
    assert "symmetric" in json.loads((tmp_path / ERROR_FILE).read_text())["expected"]


@pytest.mark.slow
def test_worker_runs_in_an_environment_without_aiida(tmp_path, search_settings, relax_settings):
    """A virtual environment with the science packages only, as on a cluster."""
    environment = tmp_path / "venv"
    venv.create(environment, symlinks=True, with_pip=False)
    site = next(environment.glob("lib/python*/site-packages"))
    for source in Path(next(p for p in sys.path if p.endswith("site-packages"))).iterdir():
        if (
            not source.name.startswith((*AIIDA_PACKAGES, "__editable__", "_aiida_fuse2", "aiida_fuse2"))
            and source.suffix != ".pth"
        ):
            (site / source.name).symlink_to(source)
    (site / "aiida_fuse2").symlink_to(Path(aiida_fuse2.__file__).parent)
    python = environment / "bin" / "python"

    def run(*arguments):
        return subprocess.run([python, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert run("-c", "import aiida").returncode != 0
    settings = search_settings("Cu3Au", starts="symmetric", max_atoms=8, pool={"size": 2}).model_dump(mode="json")
    (tmp_path / JOB_FILE).write_text(json.dumps({"settings": settings, "pool_number": 0}))
    done = run("-m", "aiida_fuse2.worker.main", "generate")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / SUMMARY_FILE).read_text())["kept"] == 2

    pool = from_extxyz((tmp_path / POOL_FILE).read_text())
    trials = [make_trial(i, atoms, origin="symmetric", symmetric_start=True) for i, atoms in enumerate(pool)]
    (tmp_path / TRIALS_FILE).write_text(trials_to_text(trials))
    tier = relax_settings(**EMT).model_dump(mode="json")
    (tmp_path / JOB_FILE).write_text(json.dumps({"settings": tier, "labels": None}))
    done = run("-m", "aiida_fuse2.worker.main", "relax")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / RESULTS_FILE).read_text().splitlines()]
    assert [row["label"] for row in rows] == [trial_label(0, 0, 0), trial_label(0, 0, 1)]
    assert {row["status"] for row in rows} <= {"converged", "step_limit"}


BOTH = {"starts": {"symmetric": 2, "fgen": 1}, "pool": {"size": 10}}


def both(folder, settings, **given):
    folder.mkdir()
    return fill_pool(settings, 0, folder=folder, **given)


def test_two_generators_make_their_shares_in_turns(tmp_path, search_settings):
    settings = search_settings("Cu3Au", max_atoms=8, **BOTH)
    structures, summary = both(tmp_path / "a", settings)
    origins = [atoms.info[ORIGIN] for atoms in structures]
    assert origins[:6] == ["symmetric", "fgen", "symmetric"] * 2
    own = summary["generators"]
    assert {name: counts["kept"] for name, counts in own.items()} == Counter(origins)
    assert summary["starts"] == BOTH["starts"]
    assert own["symmetric"]["kept"] + own["symmetric"].get("duplicates", 0) == 7
    assert own["fgen"]["kept"] + own["fgen"].get("duplicates", 0) == 4
    for key in ("tried", "kept"):
        assert summary[key] == sum(counts[key] for counts in own.values())
    assert sum(summary["rejected"].values()) == sum(sum(c["rejected"].values()) for c in own.values())
    assert [atoms.info["rank"] for atoms in structures] == list(range(len(structures)))
    again, _ = both(tmp_path / "b", settings)
    assert again == structures
    alone, _ = both(tmp_path / "c", settings, generators=["fgen"])
    assert {atoms.info[ORIGIN] for atoms in alone} == {"fgen"}
    assert len(alone) == 10


def test_ranked_structures_take_turns_within_their_own_order(tmp_path, search_settings, relax_settings):
    settings = search_settings("Cu3Au", max_atoms=4, **{**BOTH, "pool": {"size": 12, "ranking": "relaxed"}})
    structures, summary = both(tmp_path / "a", settings, tier=relax_settings(**EMT))
    energies = {name: [a.info["energy"] for a in structures if a.info[ORIGIN] == name] for name in BOTH["starts"]}
    assert all(own == sorted(own) for own in energies.values())
    assert [a.info[ORIGIN] for a in structures[:3]] == ["symmetric", "fgen", "symmetric"]
    assert summary["duplicates"] == sum(counts["duplicates"] for counts in summary["generators"].values()) > 0
    for first, second in combinations(structures, 2):
        assert not are_equal(first, second, stol=0.05)


def test_what_two_generators_have_made_is_kept_once(tmp_path, search_settings, monkeypatch):
    class Copy(SingleGenerator):
        def __init__(self, name):
            self.name = name

        def __call__(self, context, rng):  # noqa: ARG002
            atoms = bulk("Cu", "fcc", a=3.8, cubic=True)
            atoms.numbers[0] = 79
            return atoms

    monkeypatch.setattr(GENERATORS, "own", {"one": Copy("one"), "two": Copy("two")})
    settings = search_settings("Cu3Au", max_atoms=8, starts={"one": 1, "two": 1}, pool={"size": 2})
    structures, summary = both(tmp_path / "a", settings)
    assert [atoms.info[ORIGIN] for atoms in structures] == ["one"]
    assert (summary["duplicates"], summary["generators"]["two"]["duplicates"]) == (1, 1)
