"""The commands for photographs."""
