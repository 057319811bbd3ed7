"""Fault injection: damaged files, kills and full disks. Run with `make faults`."""
