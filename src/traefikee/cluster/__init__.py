"""Membership, tokens, PKI, election and cleaning; the store behind one small interface."""
