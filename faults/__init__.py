"""Fault injection: damaged files, kills, full disks and hostile input. Run with `make faults`."""
