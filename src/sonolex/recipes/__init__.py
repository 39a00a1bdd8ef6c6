"""One file per reported number. Each module has `recipe()`, which returns complete runs, and `tiny()`."""
