"""Fault injection: damaged files, kills, full disks and hostile input, many times over: `make faults`."""
