"""The command line: one verb a module, with its arguments, and `main`. Nothing heavy is imported before a verb runs.

A verb is a module of this folder: its docstring is the help, ``VERB`` its properties (`sonolex.cli._parsing.Verb`);
``add_arguments`` declares its arguments, and ``run`` executes it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from sonolex.cli._own_options import option_lines
from sonolex.cli._parsing import read_words
from sonolex.configs import look_here_for
from sonolex.devices import use_threads
from sonolex.terminal import say
from sonolex.train.group import said_once, together


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit code. A user's mistake prints one message, not a traceback."""
    with said_once():
        module, arguments = read_words(sys.argv[1:] if argv is None else argv)
    try:
        look_here_for([getattr(arguments, name, None) for name in ("recipe", "corpus", "protocol", "system")])
        if arguments.help:
            function, name = module.own_options(arguments)
            say(arguments.help, *option_lines(function, of=name), sep="\n")
            return 0
        with together(arguments.verb, shared=module.VERB.shared):
            if module.VERB.computes:
                processes = getattr(arguments, "processes", 1)
                use_threads(arguments.threads, processes=processes, by_load=not module.VERB.trains)
            return module.run(arguments) or 0
    except BrokenPipeError:  # the reader of our output has closed it (`| head`)
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - the interpreter flushes it at its end
        return 1
    except (ValueError, TypeError, OSError, ImportError) as e:
        say(f"sonolex {arguments.verb}: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        say("\nstopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
