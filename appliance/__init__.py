"""The box: runs tasks at a site, journals all that happens, and syncs with the hub when there is a link."""
