"""MEGNet, a graph network that predicts formation energies.

C. Chen, W. Ye, Y. Zuo, C. Zheng, S. P. Ong, Chem. Mater. 2019, 31, 3564, DOI 10.1021/acs.chemmater.9b01294. It runs
in TensorFlow, which never shares a process with PyTorch; importing these modules imports neither.
"""

from __future__ import annotations
