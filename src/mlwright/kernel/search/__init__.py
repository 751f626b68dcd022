"""MLflow's query language, shared by all slices that are searched in it: filters, orders, pages."""
