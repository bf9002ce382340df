"""Tests of `appliance`, module by module."""
