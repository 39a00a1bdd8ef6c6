"""Tasks: head, loss, scores and floors. Each module names its class in ``TASK``; a new task is a new file."""
