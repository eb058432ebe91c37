"""From configurations to the routing snapshot that the engine runs; pure functions, no I/O."""
