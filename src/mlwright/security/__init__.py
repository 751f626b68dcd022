"""Security: users, service accounts, tokens, and roles per project."""
