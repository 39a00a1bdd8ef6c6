"""Fuzzing: files are changed at random and given to the doors users go through; what comes of it is counted.

- ``cases``: what a case is and the outcomes it may have
- ``mutations``: changes of bytes; ``structured``: changes of JSON, CSV, safetensors, zip and pickle
- ``targets/``: one kind of file each: good files, how they are changed, and the door they are given to
- ``attacks``: cases made by hand, run before the random ones
- ``sandbox``: one case in a child process with limits, and the judgement of what it did
- ``worker``: the cases of one target, one after another
"""
