"""Tests of the steps' fields, group by group."""
