"""Numeric against analytic gradients."""
