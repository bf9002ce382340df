"""Tests of `cloudsync`, module by module."""
