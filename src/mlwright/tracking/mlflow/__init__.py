"""MLflow's REST protocol for tracking, translated to the tracking service.

The reference for every doubt is a real MLflow server: tests/contract/mlflow sends both the same calls.
"""
