"""What a model is asked to do. Each module names its class in ``TASK``; a new task is a new file."""
