"""The local API: HTTP on a Unix socket in the data folder, for those whom the file system lets reach it."""
