"""The HTTP API of the hub, under `/api/v1`."""
