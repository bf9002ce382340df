"""The steps of a browser task, a module a group; `cloudsync.steps` joins them."""
