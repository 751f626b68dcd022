"""Late flights: train and compare classifiers on real data with ordinary MLflow client code.

Run it with ``python -m examples.flights`` (see README.md in this folder).
"""
