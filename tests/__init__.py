"""The test suite: unit/ mirrors the source, contract/ runs one suite over many implementations, e2e/ uses the product."""
