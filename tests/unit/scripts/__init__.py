"""Tests of what the verbs in `scripts` run."""
