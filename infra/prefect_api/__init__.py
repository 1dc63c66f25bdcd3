"""What Tailorbird asks of Prefect's API and links to on its pages."""
