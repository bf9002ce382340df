"""Tests of the browser on the box, file by file."""
