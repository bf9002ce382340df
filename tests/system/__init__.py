"""Tests of whole systems: real boxes and hubs as processes, with whatever is killed or cut on the way."""
