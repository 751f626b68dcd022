"""Looks into model files and says whether loading them would run code. Never imports or executes what it reads.

`scanner.scan` is the way in; `spec` has the words.
"""
