"""One file per published protocol. Each module names its `Protocol` in ``PROTOCOL``; a new protocol is a new file."""
