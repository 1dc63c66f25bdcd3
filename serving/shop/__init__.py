"""A storefront of the demo. It knows the recommender as any customer's software does: by its public HTTP API."""
