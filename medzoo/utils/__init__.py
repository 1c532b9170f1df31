"""Utilities: files, parallel work, progress bars, tables, argument checks."""
