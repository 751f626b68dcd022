"""Compiles Python files: `python -s compile_bytecode.py LIST`; LIST is JSON, of [file, name in tracebacks, target].

The byte code names no time of a file and is never compared with it: where it goes, nothing changes. A file that is not
Python, or of another Python, is left out.
"""

import contextlib
import json
import py_compile
import sys
from pathlib import Path

if __name__ == "__main__":
    for file, name, target in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        with contextlib.suppress(py_compile.PyCompileError, OSError, ValueError):
            mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
            py_compile.compile(file, target, name, doraise=True, invalidation_mode=mode, quiet=2)
