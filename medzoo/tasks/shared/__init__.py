"""Machinery of several uses."""
