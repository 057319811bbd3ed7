"""Checks and grades of the functions of students."""
