"""Metrics of saved scores, one kind a file, each with its `SCORER`. NumPy only: tables and pages need no torch."""
