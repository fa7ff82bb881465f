"""Changes of tiers that make them cheap, or fail."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EMT = "ase.calculators.emt.EMT"
ASE = {"settings": {"calculator": EMT, "fmax": 0.05, "max_steps": 200, "processes": 1}}


def faulty(name, **arguments):
    """Changes of a tier that let it use a potential of ``tests.faulty``."""
    calculator = {"calculator": f"tests.faulty.{name}", "arguments": arguments}
    options = {"environment_variables": {"PYTHONPATH": str(ROOT)}}
    return {"settings": {**ASE["settings"], **calculator}, "options": options}
