"""File storage: atomic writing, sealed files, safe HDF5 and checkpoints."""
