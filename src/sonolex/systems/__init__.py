"""One file per published system. Each module names its class in ``SYSTEM``; a new system is a new file."""
