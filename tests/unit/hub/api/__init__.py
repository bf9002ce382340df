"""Tests of `hub.api`, module by module."""
