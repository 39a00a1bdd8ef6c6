"""Speech recognisers for `sonolex.annotate.transcribe`: one module each, named on the command line.

A module has ``open_recogniser(place, device="auto")``: ``place`` is a model folder or ``hub:ORG/NAME``, or None for the
recogniser's own model; ``device`` is the name of what computes (`sonolex.devices.find_device`).
"""
