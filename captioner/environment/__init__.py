"""The settings that bit-identical results depend on."""
