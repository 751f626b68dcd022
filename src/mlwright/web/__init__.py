"""The frame of the web UI: layout, languages, static files and shared page parts. Each slice brings its own pages."""
