"""Training objectives as pure functions: what to corrupt, and what to compare."""
