"""What runs share with Prefect: forms, artifacts, links between pages."""
