"""What a model is made of: the distributions it needs, what is known against them, their licences, a bill of materials.

A library without state. It needs the extras `mlwright[supply]` and `mlwright[sbom]`, so that it is imported when used.
"""
