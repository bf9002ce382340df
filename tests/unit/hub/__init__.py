"""Tests of `hub`, module by module."""
