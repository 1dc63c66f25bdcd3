"""Events from applications: durable in Postgres, or on disk while Postgres is down."""
