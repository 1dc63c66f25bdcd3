"""Client of Prefect's API: deployments, schedules, runs, events, automations and alerts."""
