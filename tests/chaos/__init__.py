"""A cluster under random faults, all from one seed, while clients use it; and the proof that what breaks is found.

How it is used, and what it has found: docs/reliability.md.
"""
