"""The test suite.

unit/ mirrors the source, contract/ runs one suite over all implementations, e2e/ uses the product, docs/ runs
the documentation.
"""
