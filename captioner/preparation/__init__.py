"""Prepare a data set from caption files and photographs."""
