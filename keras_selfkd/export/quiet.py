"""What a library prints below Python, without what nobody can act on."""

import contextlib
import os
import sys
import tempfile


@contextlib.contextmanager
def without_line(text):
    """Inside, stderr is kept back; at the end all lines come out that lack `text`.

    Also what C++ code writes there, which Python's own `sys.stderr` does not see.
    """
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            kept.seek(0)
            lines = [line for line in kept if text.encode() not in line]
            os.write(2, b"".join(lines))
