"""Importing the whole platform at once."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def large_import() -> Iterator[None]:
    """Meanwhile Python does not look for garbage, which takes a tenth of the time of an import like this.

    What it would find is some hundred kilobytes, and the next look finds it.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
