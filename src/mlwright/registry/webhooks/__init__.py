"""Webhooks: what happens in the registry is told to other programs by HTTP, as MLflow does it."""
