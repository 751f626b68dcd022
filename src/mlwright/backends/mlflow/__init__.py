"""Reading what MLflow keeps: its server, its database, its folder of files. mlflow itself is never imported."""
