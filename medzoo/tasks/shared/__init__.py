"""Code that several tasks use."""
