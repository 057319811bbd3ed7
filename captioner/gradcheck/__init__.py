"""Numeric against analytic gradients, and gradient norms through time."""
