"""The process that starts tasks, waits on them and ends their trees; it outlives the daemon. See `service`."""
