"""Control node, data node, and the supervisor of their children."""
