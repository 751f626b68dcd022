"""Signatures of models in the format of OpenSSF model signing, with keys."""
