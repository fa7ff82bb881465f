"""Tiers whose packages are not installed name the extra."""

import subprocess
import sys

import pytest

CODE = """
import sys
for name in {packages!r}:
    sys.modules[name] = None
from aiida_fuse2.core.errors import InputError
from aiida_fuse2.tiers import find_tier, load_tier
try:
    load_tier({tier!r})
except InputError as error:
    print(error)
print(find_tier({tier!r}).program, find_tier({tier!r}).citations)
"""


@pytest.mark.parametrize(
    ("tier", "packages", "extra", "program"),
    [("vasp", ["aiida_vasp"], "vasp", "VASP"), ("qe", ["aiida_quantumespresso"], "qe", "Quantum ESPRESSO")],
)
def test_a_missing_package_names_the_extra_and_searches_can_be_shown(tier, packages, extra, program):
    code = CODE.format(tier=tier, packages=packages)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"pip install 'aiida-fuse2[{extra}]'" in done.stdout
    assert f"\n{program} (" in done.stdout
