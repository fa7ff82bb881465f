"""Entries of the AFLOW encyclopedia, so that most tests need no library."""

from aiida_fuse2.core.prototypes.encyclopedia import Entry, build
from aiida_fuse2.core.prototypes.library import Prototype, make_prototype


def _entry(label: str, title: str, compound: str, **parameters: float) -> Entry:
    named = {name.replace("_over_", "/"): value for name, value in parameters.items()}
    return Entry(label=label, title=title, compound=compound, parameters=named, source=f"AFLOW prototype {label}")


PEROVSKITE = _entry("AB3C_cP5_221_a_c_b-001", "Cubic Perovskite (CaTiO$_{3}$, $E2_{1}$) Structure", "CaTiO3", a=3.795)
SPINEL = _entry(
    "A2BC4_cF56_227_c_b_e-001", "Spinel (Al$_{2}$MgO$_{4}$, $H1_{1}$) Structure", "Al2MgO4", a=8.0832, x3=0.2376
)
CALCITE = _entry(
    "ABC3_hR10_167_a_b_e-002",
    "Calcite (CaCO$_{3}$, $G0_{1}$) Structure",
    "CCaO3",
    a=4.98801,
    c_over_a=3.42041,
    x3=0.9933,
)
CORUNDUM = _entry(
    "A2B3_hR10_167_c_e-001",
    r"Corundum ($\alpha$-alumina, Al$_{2}$O$_{3}$, $D5_{1}$) Structure",
    "Al2O3",
    a=4.76067,
    c_over_a=2.72958,
    x1=0.64784,
    x2=0.9439,
)
ARSENIC = _entry("A_hR2_166_c-001", r"$\alpha$-As ($A7$) Structure", "As", a=3.75948, c_over_a=2.78157, x1=0.22754)
RUTILE = _entry(
    "A2B_tP6_136_f_a-001", "Rutile (TiO$_{2}$, $C4$) Structure", "O2Ti", a=4.5922, c_over_a=0.644005, x2=0.30496
)
WURTZITE = _entry(
    "AB_hP4_186_b_b-001", "Wurtzite (ZnS, $B4$) Structure", "SZn", a=3.8227, c_over_a=1.63777, z1=0.3748, z2=0.0
)
HYDROPHILITE = _entry(
    "AB2_oP6_58_a_g-001",
    "Hydrophilite (CaCl$_{2}$, $C35$) Structure",
    "CaCl2",
    a=6.24,
    b_over_a=1.03045,
    c_over_a=0.673077,
    x2=0.275,
    y2=0.325,
)
MARCASITE = _entry(
    "AB2_oP6_58_a_g-003",
    "Marcasite (FeS$_{2}$, $C18$) Structure",
    "FeS2",
    a=4.4446,
    b_over_a=1.22049,
    c_over_a=0.761913,
    x2=0.2004,
    y2=0.3787,
)
PYRITE = _entry("AB2_cP12_205_a_c-001", "Pyrite (FeS$_{2}$, $C2$) Structure", "FeS2", a=5.4179, x2=0.384)
BADDELEYITE = _entry(
    "A2B_mP12_14_2e_e-001",
    "Baddeleyite (ZrO$_{2}$, $C43$) Structure",
    "O2Zr",
    a=5.1505,
    b_over_a=1.01186,
    c_over_a=1.03239,
    beta=99.23,
    x1=0.93,
    y1=0.3317,
    z1=0.6553,
    x2=0.5504,
    y2=0.7569,
    z2=0.5208,
    x3=0.7246,
    y3=0.0395,
    z3=0.7917,
)
QUARTZ = _entry(
    "A2B_hP9_152_c_a-001",
    r"$\alpha$-Quartz (low Quartz) Structure",
    "O2Si",
    a=4.914,
    c_over_a=1.10012,
    x1=0.5301,
    x2=0.1462,
    y2=0.413,
    z2=0.88067,
)

ALL = (
    PEROVSKITE,
    SPINEL,
    CALCITE,
    CORUNDUM,
    ARSENIC,
    RUTILE,
    WURTZITE,
    HYDROPHILITE,
    MARCASITE,
    PYRITE,
    BADDELEYITE,
    QUARTZ,
)


def prototype(entry: Entry) -> Prototype:
    """Return the prototype of an entry."""
    return make_prototype(build(entry), key=entry.label, source=entry.source, name=entry.name)
