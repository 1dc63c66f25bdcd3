"""The endpoints of the API: lists, catalogue, feedback, calls of libraries, and health."""
