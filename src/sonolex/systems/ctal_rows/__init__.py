"""The rows of CTAL's tables 1 to 4: what it is compared with. Rows lean on `sonolex.systems.ctal`, never it on them."""
