"""The command line: ``trailward VERB --help`` tells each verb's flags."""

import os
import signal
import sys


def run() -> None:
    """The command ``trailward``: answers Ctrl-C in one line from its first moment on."""

    def end(*_: object) -> None:
        os.write(2, b"trailward: interrupted; nothing was written\n")
        os._exit(130)

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    from trailward.cli.main import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
