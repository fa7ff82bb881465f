"""Codes, pseudopotentials and inputs of the tiers that compute with density functional theory."""

import shutil
import sys
from pathlib import Path

import pytest
from aiida import orm
from aiida.engine import run_get_node

from aiida_fuse2.core.errors import InputError
from aiida_fuse2.core.settings import parse_settings
from aiida_fuse2.protocols import protocol_inputs
from aiida_fuse2.tiers import TierInputs, load_tier
from tests.potcars import ENMAX, potcar

ROOT = Path(__file__).resolve().parents[2]

FAMILY = "stand-in"


@pytest.fixture(scope="session")
def potcars(aiida_profile, tmp_path_factory):
    """A family of POTCARs for Al, Au and Cu."""
    pytest.importorskip("aiida_vasp")
    from aiida_vasp.data.potcar import PotcarData

    folder = tmp_path_factory.mktemp("potcars")
    for element, enmax in ENMAX.items():
        (folder / element).mkdir()
        (folder / element / "POTCAR").write_text(potcar(element, enmax))
    PotcarData.upload_potcar_family(str(folder), FAMILY, "files without data", stop_if_existing=False)
    return FAMILY


@pytest.fixture
def prompt_computer(aiida_localhost):
    """This computer, whose jobs are looked at without delay."""
    aiida_localhost.set_minimum_job_poll_interval(0.1)
    aiida_localhost.configure(safe_interval=0.0, use_login_shell=False)
    return aiida_localhost


@pytest.fixture
def vasp_code(prompt_computer, tmp_path):
    """A factory of codes: the stand-in, with faults."""

    def build(*faults, plugin="vasp.vasp"):
        script = ROOT / "tests/vasp_stand_in.py"
        command = tmp_path / "-".join(["vasp", *faults])
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" {" ".join(faults)}\n')
        command.chmod(0o755)
        label = f"vasp-{tmp_path.name}-{'-'.join(faults).replace('@', '_')}"
        return orm.InstalledCode(
            computer=prompt_computer, filepath_executable=str(command), label=label, default_calc_job_plugin=plugin
        ).store()

    return build


PSEUDOS = Path("/usr/share/espresso/pseudo")
FILES = {"Mg": "Mg.pz-n-vbc.UPF", "O": "O.pz-rrkjus.UPF", "Si": "Si.pz-vbc.UPF"}
CUTOFF = 30.0
"""Ry. With 20, stresses of MgO computed anew are off by 1 to 3 GPa."""

needs_pw = pytest.mark.skipif(
    shutil.which("pw.x") is None or not PSEUDOS.is_dir(), reason="Debian's quantum-espresso is not installed"
)
COARSE = {"protocol": "fast", "kpoints_distance": 0.6, "fmax": 0.1, "pressure_tolerance": 1.0}


@pytest.fixture
def family(aiida_profile, tmp_path):
    """LDA pseudopotentials of Debian's quantum-espresso-data, or empty files where there are none."""
    pytest.importorskip("aiida_pseudo")
    from aiida_pseudo.data.pseudo import UpfData
    from aiida_pseudo.groups.family import CutoffsPseudoPotentialFamily

    label = "debian-lda" if PSEUDOS.is_dir() else "empty-lda"
    found = orm.QueryBuilder().append(CutoffsPseudoPotentialFamily, filters={"label": label}).first(flat=True)
    if found is not None:
        return label
    folder = tmp_path / "pseudos"
    folder.mkdir()
    for element, name in FILES.items():
        target = folder / f"{element}.upf"
        if PSEUDOS.is_dir():
            shutil.copy(PSEUDOS / name, target)
        else:
            target.write_text(f'<UPF version="2.0.1"><PP_HEADER element="{element}" z_valence="6.0"/></UPF>')
    made = CutoffsPseudoPotentialFamily.create_from_folder(folder, label, pseudo_type=UpfData)
    cutoffs = {element: {"cutoff_wfc": CUTOFF, "cutoff_rho": 8 * CUTOFF} for element in FILES}
    made.set_cutoffs(cutoffs, "normal", unit="Ry")
    return label


@pytest.fixture
def pw_code(prompt_computer, tmp_path):
    """A factory of codes: pw.x, or a script in its place."""

    def build(script=None, *, plugin="quantumespresso.pw"):
        path = shutil.which("pw.x") or "/usr/bin/pw.x"
        if script is not None:
            command = tmp_path / "pw.sh"
            command.write_text(f"#!/bin/sh\n{script}\n")
            command.chmod(0o755)
            path = str(command)
        return orm.InstalledCode(
            computer=prompt_computer,
            filepath_executable=path,
            label=f"pw-{tmp_path.name}",
            default_calc_job_plugin=plugin,
            prepend_text="export OMP_NUM_THREADS=1",
        ).store()

    return build


def default_settings(name):
    """Settings of a tier as a search begins with them."""
    shared = load_tier(name).base_settings(protocol_inputs()["relax"]["settings"])
    return {**shared, **protocol_inputs(name="tiers")[name]["settings"]}


def tier_inputs(name, code, *, seconds=600, **changes):
    """Inputs of a tier, and of its jobs on one core."""
    values = {**default_settings(name), **changes}
    return TierInputs(
        name=name,
        settings_node=orm.Dict(values),
        settings=parse_settings(load_tier(name).settings_model, values, where="tiers.t00.settings"),
        codes={name: code},
        options={"resources": {"num_machines": 1}, "withmpi": False, "max_wallclock_seconds": seconds},
        where="tiers.t00",
    )


def relax(inputs, atoms, *, store=False):
    """Relax a structure in a tier, and return what the tier reads from it, and the process."""
    tier = load_tier(inputs.name)
    structure = orm.StructureData(ase=atoms)
    process, made = tier.inputs(inputs, structure.store() if store else structure)
    _, node = run_get_node(process, **made)
    return tier.collect(node), node


def jobs_below(node):
    """Jobs that a process has called, the earliest first."""
    jobs = [called for called in node.called_descendants if isinstance(called, orm.CalcJobNode)]
    return sorted(jobs, key=lambda job: job.pk)


def assert_failed(found, status):
    """A structure that failed has a reason, an explanation, and nothing to go on with."""
    assert found.status == status, found
    assert found.results is None
    assert found.structure is None
    assert found.detail


def assert_refused(inputs, elements, field, text):
    """Inputs are refused by a message that names the field, and nothing is submitted."""
    before = orm.QueryBuilder().append(orm.ProcessNode).count()
    with pytest.raises(InputError, match=text) as caught:
        load_tier(inputs.name).check(inputs, elements)
    assert caught.value.field.split(".")[-1] == field
    assert caught.value.field.startswith("tiers.t00")
    assert orm.QueryBuilder().append(orm.ProcessNode).count() == before


def assert_setting_refused(given, changes, text):
    """A wrong setting is refused by a message that names its field."""
    with pytest.raises(InputError, match=text) as caught:
        given(**changes)
    assert caught.value.field == f"tiers.t00.settings.{next(iter(changes))}"
