"""Recording what a training run needs to be repeated, repeating it, and telling what differs."""
