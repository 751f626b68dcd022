"""Moving in a model registry, after the runs and logged models that its versions are made of."""
