"""The kernel: store, events, identity, blobs, HTTP. Nothing here knows about machine learning."""
