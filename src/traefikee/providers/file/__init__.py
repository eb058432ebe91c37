"""The file provider (Traefik 1.7, ``[file]``): files are read where ``deploy`` runs, and travel with the configuration.

``merge`` and ``content`` are pure; ``source`` reads files; ``provider`` emits what was deployed, and follows the
leader's own copy if it is asked to.
"""
