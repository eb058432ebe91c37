"""What a backup holds, the archive that it travels in, and how a cluster begins anew from it."""
