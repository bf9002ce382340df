"""Tests of `hub.client`, module by module."""
