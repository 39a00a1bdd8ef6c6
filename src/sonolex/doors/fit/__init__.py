"""`sonolex fit`: your own recordings in one command; candidates compete, and the winner is the model."""

from sonolex.doors.fit.door import fit

__all__ = ["fit"]
