"""Experiment tracking: experiments, runs, parameters, metrics, tags, inputs and outputs, logged models."""
