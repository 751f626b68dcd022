"""Tools of the repository: set-up, peers, the size ratchet, generated reference pages. Not part of the package."""
