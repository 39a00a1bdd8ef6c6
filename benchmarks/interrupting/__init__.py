"""What `benchmarks.interruptions` needs: a library that counts writes and stops a process at one, and what it runs."""
