"""Small configs of every system, with each of its variants: one module a system, found by its name.

``CONFIGS`` are the system's configs, ``PROCESSOR`` is the config of the processor that feeds all of them.
"""
