"""Cases as files: what comes of a configuration."""
