"""Network parts that several systems share. No losses, no input handling."""
