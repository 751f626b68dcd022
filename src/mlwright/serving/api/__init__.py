"""Endpoints over our own REST API."""
