"""Files in the place of POTCARs, which are licensed: their lines that are read, and no data."""

from __future__ import annotations

ENMAX = {"Cu": 295.446, "Au": 229.943, "Al": 240.300}
"""Largest plane-wave energy of each element, eV."""


def potcar(element: str, enmax: float, *, has_cutoff: bool = True) -> str:
    """Return the lines of a POTCAR that are read.

    Args:
        element: symbol.
        enmax: largest plane-wave energy, eV.
        has_cutoff: whether it says that energy.
    """
    cutoff = f"   ENMAX  =  {enmax:.3f}; ENMIN  =  {0.75 * enmax:.3f} eV\n" if has_cutoff else ""
    return (
        f" PAW_PBE {element} 01Jan2000\n 11.0\n parameters from PSCTR are:\n   VRHFIN ={element}: none\n"
        f"   LEXCH  = PE\n   TITEL  = PAW_PBE {element} 01Jan2000\n{cutoff}   RCORE  =    2.0\n"
        " END of PSCTR-controll parameters\n End of Dataset\n"
    )
