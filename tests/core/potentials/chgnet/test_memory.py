"""What a dense structure may take, that it is given back, and that what CHGNet cannot hold together has failed."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from aiida_fuse2.core.crystal.validity import is_one_crystal
from aiida_fuse2.core.errors import RelaxationError
from aiida_fuse2.core.relaxers import make_evaluator, relax, single_point

from .agreement import evaluate

pytest.importorskip("chgnet")

COUNTED = 1.5e9
"""Memory that a process which relaxes is given, bytes."""

MEASURE = """
import json, resource, sys
import numpy as np
from ase import Atoms
from tests.core.potentials.chgnet.test_memory import hydrogen
from tests.core.potentials.chgnet.agreement import evaluate
from aiida_fuse2.core.relaxers import make_evaluator
from aiida_fuse2.core.settings import RelaxSettings, parse_settings
from aiida_fuse2.protocols import protocol_inputs

values = protocol_inputs("fast", {})["relax"]["settings"] | {"backend": sys.argv[1]}
model = make_evaluator(parse_settings(RelaxSettings, values))
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
evaluate(model, hydrogen(8, 19.0))
before = resident()
evaluate(model, hydrogen(8, 1.2))
evaluate(model, hydrogen(8, 19.0))
after = resident()
peak = 1024 * int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])  # ru_maxrss is its parent's, too
print(json.dumps([before, peak, after]))
"""


def hydrogen(n, volume, seed=1):
    """Atoms near the points of a simple lattice; Å³ per atom."""
    edge = (n * volume) ** (1 / 3)
    side = int(np.ceil(n ** (1 / 3)))
    places = np.indices((side,) * 3).reshape(3, -1).T[:n] + np.random.default_rng(seed).uniform(-0.1, 0.1, (n, 3))
    return Atoms(f"H{n}", positions=places * edge / side, cell=[edge] * 3, pbc=True)


@pytest.fixture(params=["auto", "torch"])
def tier(request, relax_settings):
    return relax_settings(backend=request.param)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux how much memory is used")
@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_memory_of_a_dense_structure_is_limited_and_given_back(backend):
    done = subprocess.run([sys.executable, "-c", MEASURE, backend], capture_output=True, text=True, check=True)
    before, peak, after = json.loads(done.stdout.splitlines()[-1])
    assert before + 2e8 < peak < COUNTED
    assert after < before + 1e8


@pytest.mark.parametrize(
    "atoms",
    [hydrogen(8, 0.6), hydrogen(20, 1.0), Atoms("H2", positions=[[0] * 3, [0.375] * 3], cell=[0.75] * 3, pbc=True)],
)
def test_a_structure_beyond_the_limit_is_a_named_failure(atoms, tier):
    found = relax(atoms, make_evaluator(tier), tier)
    assert (found.status, found.values["evaluations"]) == ("too_dense", 1)
    assert "more memory than a process is given" in found.detail


@pytest.mark.parametrize(
    "atoms",
    [bulk("C", "diamond", a=3.57, cubic=True) * (3, 3, 3), bulk("Cu", "fcc", a=3.6, cubic=True) * (3, 3, 3)],
)
def test_ordinary_crystals_are_never_too_large(atoms, tier):
    assert evaluate(make_evaluator(tier), atoms).energy < 0


def test_lack_of_memory_is_not_the_structures_fault(monkeypatch, relax_settings):
    from aiida_fuse2.core.potentials.chgnet.native_backend import NO_MEMORY

    model = make_evaluator(relax_settings())
    if not model.name.startswith("chgnet 0.3.0 native"):
        pytest.skip("there is no C++ compiler")
    monkeypatch.setattr(model, "_kernel", FailingKernel(model._kernel, NO_MEMORY))
    with pytest.raises(MemoryError):
        evaluate(model, hydrogen(2, 19.0))


class FailingKernel:
    """A kernel whose evaluations end with a status."""

    def __init__(self, kernel, status):
        self.fuse2_chgnet_delete = kernel.fuse2_chgnet_delete
        self.fuse2_chgnet_evaluate = lambda *_: status


def test_helium_ends_as_helium_or_fails_by_name(tier):
    """Pressed together it has false minima, some 4 eV/atom above separate atoms."""
    model = make_evaluator(tier)
    solid = bulk("He", "fcc", a=5.14)
    found = relax(solid, model, tier)
    assert found.status == "converged"
    assert -0.1 < found.values["energy"] < 0.1
    assert 8 < found.values["volume"] < 40
    assert relax(bulk("Ne", "fcc", a=2.8), model, tier).status == "unbound"
    assert single_point(bulk("He", "fcc", a=2.0), model, tier).status == "unbound"


MOLECULE = (
    [[7.4482, 4.7314, 3.9395], [-4.3017, 1.9732, 3.4602], [-1.9593, -7.4276, 4.3812]],
    [
        [0.0064, 0.9253, 0.0035],
        [0.6398, 0.4819, 0.4132],
        [0.6281, 0.9236, 0.6258],
        [0.4438, 0.3617, 0.6770],
        [0.8080, 0.9244, 0.8054],
        [0.5129, 0.4222, 0.5141],
    ],
)
"""Cell and places of CeCr2Si2C that a search found, 6 eV/atom below the crystal: linear, with 76 Å³ per atom."""

CHAINS = (
    [[5.2112, 3.017, 4.4157], [-5.2266, 3.0274, 4.4269], [0.0013, -6.0164, 4.4017]],
    [
        [0.5004, 0.5021, 0.4975],
        [0.7989, 0.7971, 0.8014],
        [0.2002, 0.1978, 0.2047],
        [0.3400, 0.3396, 0.3411],
        [0.6598, 0.6596, 0.6598],
        [0.0007, 0.0039, 0.9954],
    ],
)
"""Another, 1.3 eV/atom below the crystal: chains, 6 Å apart, with 69 Å³ per atom."""


@pytest.mark.parametrize("backend", ["native", "torch"])
@pytest.mark.parametrize(
    ("geometry", "limit"), [(MOLECULE, "0.79 below CHGNet's fit"), (CHAINS, "0.86 below CHGNet's fit")]
)
def test_what_is_bound_too_deeply_for_its_volume_has_failed(relax_settings, geometry, limit, backend):
    cell, places = geometry
    atoms = Atoms("CeCr2Si2C", scaled_positions=places, cell=cell, pbc=True)
    tier = relax_settings(backend=backend)
    assert is_one_crystal(atoms, tier.isolated_distance)  # so its distances do not tell
    found = single_point(atoms, make_evaluator(tier), tier)
    assert found.status == "energy_impossible"
    assert limit in found.detail


def test_the_crystal_that_is_most_nearly_too_deep_for_its_volume_is_not(relax_settings):
    """SrBr2 (ICSD 15972), 0.8 eV/atom below the fit with 37.6 Å³ per atom: the largest product of 1532 crystals."""
    sites = {"Br1": (0.103, 0.119), "Br2": (0.614, 0.842), "Sr": (0.811, 0.108)}
    places = [
        place
        for x, z in sites.values()
        for place in ([x, 0.25, z], [0.5 - x, 0.75, z + 0.5], [-x, 0.75, -z], [x + 0.5, 0.25, 0.5 - z])
    ]
    bromide = Atoms("Br8Sr4", scaled_positions=places, cell=[11.42, 4.3, 9.2], pbc=True)
    tier = relax_settings(fmax=0.1)
    assert relax(bromide, make_evaluator(tier), tier).status == "converged"


@pytest.mark.parametrize("backend", ["native", "torch"])
def test_a_collapse_ends_as_soon_as_its_energy_is_impossible(relax_settings, backend):
    """A search for ZnSO4 lost 84 of its 90 CPU s to 2000 evaluations of such a start, at the end with 2 Å³ per atom."""
    cell = [[1.518, 1.357, 2.424], [-1.331, 0.899, 2.497], [-0.304, -1.948, 2.284]]
    places = [
        [0.120, 0.023, 0.016],
        [0.570, 0.340, 0.612],
        [0.117, 0.063, 0.294],
        [0.111, 0.330, 0.006],
        [0.860, 0.287, 0.108],
        [0.798, 0.889, 0.618],
    ]
    tier = relax_settings(backend=backend, max_steps=2000)
    found = relax(Atoms("ZnSO4", scaled_positions=places, cell=cell, pbc=True), make_evaluator(tier), tier)
    assert found.status == "energy_impossible"
    assert found.values["evaluations"] < 30


def test_energies_above_zero_are_for_pressures_and_other_potentials(relax_settings):
    pressed = relax_settings(pressure=50.0)
    assert single_point(bulk("He", "fcc", a=2.3), make_evaluator(pressed), pressed).status == "converged"
    emt = relax_settings(calculator="ase.calculators.emt.EMT")
    assert single_point(bulk("Cu", "fcc", a=3.0), make_evaluator(emt), emt).values["energy"] > 1


def test_energy_alone_has_the_limit_too():
    from aiida_fuse2.core.generators.gnoa.networks import ChgnetNetwork

    scores = ChgnetNetwork("0.3.0").score([hydrogen(8, 0.6), hydrogen(8, 19.0)])
    assert np.isnan(scores[0])
    assert np.isfinite(scores[1])


def test_torch_counts_before_it_lists(relax_settings):
    from aiida_fuse2.core.potentials.chgnet.graph import build_graph

    flat = Atoms("H", cell=[0.05] * 3, pbc=True)
    with pytest.raises(RelaxationError, match="too_dense"):
        build_graph(flat.positions, flat.cell.array, atom_cutoff=6.0, bond_cutoff=3.0)
