"""The real engine and real clients."""
