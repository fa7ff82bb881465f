"""The science of FUSE2: structures in and out as ``ase.Atoms``; no AiiDA, no files, no network."""
