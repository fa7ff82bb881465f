"""Pools of ``gnoa``, rankings and checkpoints, as a job makes them."""

import json

import numpy as np
import pytest
from ase import Atoms

from aiida_fuse2.core.potentials.evaluation import Evaluation
from aiida_fuse2.core.potentials.pair import PairEvaluator, read_library
from aiida_fuse2.io.names import CHECKPOINT_FILE, ERROR_FILE, JOB_FILE, POOL_FILE, PROGRESS_FILE, SUMMARY_FILE
from aiida_fuse2.io.trials import from_extxyz
from aiida_fuse2.worker import main, pieces
from aiida_fuse2.worker.checkpoint import Checkpoint, atoms_from_dict, atoms_to_dict
from aiida_fuse2.worker.generating import fill_pool
from aiida_fuse2.worker.ranking import distinct
from tests.conftest import EMT
from tests.tiered import MORSE

DRAWS = {"trials_per_z": 20, "history": 5, "keep": 1, "space_groups": "1-230"}

SMALL = {"max_atoms": 8, "starts": "gnoa", "pool": {"size": 6}, "gnoa": DRAWS}


@pytest.fixture
def fill(tmp_path, search_settings):
    """Fill a pool in a folder of its own; return its frames, text, summary and folder."""
    folders = iter(tmp_path / f"job{i}" for i in range(100))

    def run(composition="Cu3Au", folder=None, tier=None, potential=None, **changes):
        folder = folder or next(folders)
        folder.mkdir(exist_ok=True)
        settings = search_settings(composition, **{**SMALL, **changes})
        return (*fill_pool(settings, 0, folder=folder, tier=tier, potential=potential), folder)

    return run


def test_pool_is_ordered_distinct_and_says_where_it_is_from(fill):
    structures, summary, folder = fill()
    assert 1 <= summary["kept"] == len(structures) <= 6
    scores = [atoms.info["score"] for atoms in structures]
    assert scores == sorted(scores)
    assert summary["best"]["score"] == scores[0]
    assert [atoms.info["rank"] for atoms in structures] == list(range(len(structures)))
    assert {atoms.info["origin"] for atoms in structures} == {"gnoa"}
    assert summary["tried"] == 40  # Z = 1 and 2
    assert summary["tried"] == summary["scored"] + sum(summary["penalised"].values())
    (own,) = summary["generators"].values()
    assert own["kept"] == summary["kept"]
    assert own["network"].startswith("chgnet 0.3.0")
    assert summary["cpu_seconds"] > 0
    assert json.loads((folder / PROGRESS_FILE).read_text())["remaining"] == 0


@pytest.mark.slow
def test_pool_depends_neither_on_processes_nor_on_a_kill(fill):
    whole, _, folder = fill()
    shared, _, _ = fill(pool={"size": 6, "processes": 2})
    assert shared == whole
    lines = (folder / CHECKPOINT_FILE).read_text().splitlines(keepends=True)
    (folder / CHECKPOINT_FILE).write_text("".join(lines[:4]) + lines[4][:50])  # killed while it wrote
    resumed, summary, _ = fill(folder=folder)
    assert resumed == whole
    assert summary["resumed"] == 3
    assert [a.info for a in resumed] == [a.info for a in whole]


def test_checkpoint_of_other_inputs_is_not_used(fill):
    _, _, folder = fill()
    other, summary, _ = fill(folder=folder, seed=2)
    assert summary["resumed"] == 0
    assert other == fill(seed=2)[0]


@pytest.mark.parametrize("generator", ["gnoa", "symmetric"])
def test_ranking_orders_by_the_potential(fill, relax_settings, generator):
    tier = relax_settings(**EMT)
    single, summary, folder = fill(tier=tier, starts=generator, pool={"size": 6, "ranking": "single"})
    energies = [atoms.info["energy"] for atoms in single]
    assert energies == sorted(energies)
    assert summary["ranking"]["by"] == "single"
    assert summary["ranking"]["potential"] == EMT["calculator"]
    relaxed, _, _ = fill(tier=tier, starts=generator, pool={"size": 6, "ranking": "relaxed"})
    assert relaxed[0].info["energy"] < single[0].info["energy"]
    again, summary, _ = fill(folder=folder, tier=tier, starts=generator, pool={"size": 6, "ranking": "single"})
    assert again == single
    assert summary["resumed"] > 0


def test_a_library_ranks_with_the_pairs_of_the_composition(fill, relax_settings, tmp_path):
    library = tmp_path / "all.lib"
    library.write_text(MORSE + "Ag Ag 0.3 1.4 2.9 0.0 7.0\n")
    tier = relax_settings(calculator="pair", fmax=0.1, processes=1)
    ranked, summary, folder = fill(
        tier=tier, potential=library, starts="symmetric", pool={"size": 6, "ranking": "relaxed"}
    )
    engine = PairEvaluator(read_library(library.read_text()))
    for atoms in ranked:
        found = engine.evaluate(atoms.numbers, atoms.positions, atoms.cell.array)
        assert atoms.info["energy"] == pytest.approx(found.energy / len(atoms), abs=1e-6)
        assert abs(found.forces).max() < 0.1
    assert summary["ranking"]["potential"] == "pair potential"
    library.write_text(MORSE.replace("0.34", "0.35"))
    _, summary, _ = fill(
        folder=folder, tier=tier, potential=library, starts="symmetric", pool={"size": 6, "ranking": "relaxed"}
    )
    assert summary["resumed"] == 0  # what another library has ranked does not count


class Half:
    """A potential that fails for every second structure."""

    name = "half"
    calls = 0

    def evaluate(self, numbers, positions, cell):  # noqa: ARG002
        Half.calls += 1
        if Half.calls % 2:
            raise ArithmeticError("odd")
        return Evaluation(-1.0 * Half.calls, np.zeros((len(numbers), 3)), np.zeros((3, 3)))


def test_what_cannot_be_ranked_is_dropped_and_counted(fill, relax_settings, monkeypatch):
    monkeypatch.setattr("aiida_fuse2.worker.ranking.evaluator_of", lambda *_: Half())
    plain, _, _ = fill(starts="symmetric")
    kept, summary, _ = fill(
        starts="symmetric", tier=relax_settings(**EMT), pool={"size": 6, "ranking": "single", "processes": 1}
    )
    dropped = summary["ranking"]["dropped"]
    assert dropped["calculator_error"] == 3
    assert len(kept) == len(plain) - sum(dropped.values())


def test_duplicates_are_left_out(perovskite, search_settings):
    def scored(atoms, score):
        atoms.info["score"] = score
        return atoms

    doubled, larger = perovskite.repeat((2, 1, 1)), perovskite.copy()
    larger.set_cell(perovskite.cell * 1.2, scale_atoms=True)
    structures = [scored(perovskite, -8.0), scored(doubled, -8.0), scored(larger, -7.999), scored(larger.copy(), -7.0)]
    kept, duplicates = distinct(structures, "score", search_settings().uniqueness, 10)
    assert duplicates == 1
    assert [atoms.info["score"] for atoms in kept] == [-8.0, -7.999, -7.0]
    assert len(distinct(structures, "score", search_settings().uniqueness, 1)[0]) == 1


def test_checkpoint_is_exact(tmp_path):
    atoms = Atoms("Cu", positions=[[0.1 + 1e-15, 1 / 3, 0]], cell=np.eye(3) * np.pi, pbc=True)
    checkpoint = Checkpoint(tmp_path / "j", "a")
    checkpoint.add("x", atoms_to_dict(atoms))
    back = Checkpoint(tmp_path / "j", "a")
    assert back.n_resumed == 1
    found = atoms_from_dict(back.entries["x"])
    assert (found.positions == atoms.positions).all()
    assert (found.cell.array == atoms.cell.array).all()
    assert Checkpoint(tmp_path / "j", "b").entries == {}
    (tmp_path / "j").write_text("rubbish\n")
    assert Checkpoint(tmp_path / "j", "b").entries == {}


def test_job_writes_pool_and_summary(tmp_path, monkeypatch, search_settings):
    monkeypatch.chdir(tmp_path)
    job = {"settings": search_settings("Cu3Au", **SMALL).model_dump(mode="json"), "pool_number": 2, "tier": None}
    (tmp_path / JOB_FILE).write_text(json.dumps(job))
    assert main(["generate"]) == 0
    frames = from_extxyz((tmp_path / POOL_FILE).read_text())
    assert {frame.info["pool_number"] for frame in frames} == {2}
    assert json.loads((tmp_path / SUMMARY_FILE).read_text())["kept"] == len(frames)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"gnoa": {**DRAWS, "network": "megnet"}}, "weights"),
        ({"pool": {"ranking": "single"}}, "settings.pool.ranking"),
    ],
)
def test_what_is_missing_is_named(tmp_path, monkeypatch, search_settings, changes, field):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pieces, "run_all", lambda f, work, *_, **__: ((w, f(w)) for w in work))
    settings = search_settings("Cu3Au", **{**SMALL, **changes}).model_dump(mode="json")
    (tmp_path / JOB_FILE).write_text(json.dumps({"settings": settings, "pool_number": 0, "tier": None}))
    assert main(["generate"]) == 2
    assert json.loads((tmp_path / ERROR_FILE).read_text())["field"] == field
