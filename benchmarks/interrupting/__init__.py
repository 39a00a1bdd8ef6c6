"""What `benchmarks.interruptions` needs: a library that counts a process's writes and stops at one, and commands."""
