"""Tests of the local API, module by module."""
