"""Model cards, and model packages that can be installed."""
