"""Tests on pages and on an application that were not written for Operis."""
