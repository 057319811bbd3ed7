"""Optimization: update rules, learning-rate schedules, gradient clipping and EMA."""
