"""The environment of captioner: packages, hardware, weights and folders, and their checks (`captioner doctor`).

NumPy and the other libraries are imported inside the checks, so that a missing library is one row of the report.
"""
