"""How people at a terminal see tasks, whether a hub or a box tells of them: what both of the commands show alike."""
