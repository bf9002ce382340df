"""Tests of the owner's commands, module by module."""
