"""The rows of CTAL's tables 1 to 4: what it is compared with. They import `sonolex.systems.ctal`, never the reverse."""
