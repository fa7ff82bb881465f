"""MEGNet, a graph network that predicts formation energies.

C. Chen, W. Ye, Y. Zuo, C. Zheng, S. P. Ong, Chem. Mater. 2019, 31, 3564, DOI 10.1021/acs.chemmater.9b01294. It runs
in TensorFlow, which never shares a process with PyTorch; importing these modules imports neither.
"""

from __future__ import annotations

CITATION = (
    "C. Chen, W. Ye, Y. Zuo, C. Zheng, S. P. Ong, Graph networks as a universal machine learning framework for "
    "molecules and crystals, Chem. Mater. 31, 3564 (2019), https://doi.org/10.1021/acs.chemmater.9b01294"
)
