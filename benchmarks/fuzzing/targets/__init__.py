"""One kind of file a module. Each has:

- ``warm()``: import what its cases need, before the fork
- ``make(folder)``: write good files, one folder a good input
- ``mutate(folder, rng)``: change one of these in place and return the `Mutation`
- ``use(folder, out)``: give it to the door users go through, and return the answer
- ``NAMES`` (optional): what the door is told besides the folder; a refusal may name one of these instead of a file
- ``WRITES`` (optional): names in the folder that the door may change
"""
