"""Endpoints, one module per subject, each with a `router`."""
