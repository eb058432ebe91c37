"""An open, clustered edge router: the agent, its commands and its cluster."""

__version__ = "0.1.0"
