"""Prepare data sets from caption files and photographs, and load and inspect data sets."""
