"""Tools of the repository: set-up, peers, the size ratchet, generated pages. Not part of the package."""
