"""File storage: atomic writing, saved files behind a checksum header, safe HDF5 and checkpoints."""
