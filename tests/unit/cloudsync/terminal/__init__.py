"""Tests of `cloudsync.terminal`, module by module."""
