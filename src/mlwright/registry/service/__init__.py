"""The verbs of the model registry; one file per noun."""
