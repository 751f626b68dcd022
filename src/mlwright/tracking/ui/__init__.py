"""The pages of experiment tracking: experiments, runs, one run, comparisons."""
