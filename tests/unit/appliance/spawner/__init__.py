"""Tests of the spawner: the real program, its real socket, and real processes."""
