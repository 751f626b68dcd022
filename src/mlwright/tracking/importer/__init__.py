"""Moving in: reads a source and sends it to the API in batches, from the machine where the command runs.

Every step may be repeated: what is there already is only compared. A move that was interrupted goes on when it is
started again.
"""
