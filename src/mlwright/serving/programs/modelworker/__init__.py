"""A program that runs models: `python -I START SOCKET`, where START is `start.py` beside this package.

Runs inside the models' own environment: nothing but the standard library and what the models need. The serving host
imports `frames` too, so modules here name each other relatively and import nothing of mlwright.
"""
