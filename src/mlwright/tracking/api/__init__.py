"""Our own REST API of tracking, under /v1: everything that the pages show and do."""
