"""MLflow's registry protocol: translation only, the service decides."""
