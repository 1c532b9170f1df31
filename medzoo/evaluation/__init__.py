"""The reports behind every published number."""
