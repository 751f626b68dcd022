"""Artifacts: immutable bytes under names, the proxy that MLflow's clients store models and files through."""
