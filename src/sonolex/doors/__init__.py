"""The ways in: from Python, with a table, with recordings, with words."""
