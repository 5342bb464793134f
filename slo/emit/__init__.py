"""Model → text, one emitter a target. Only these modules know PromQL, Alertmanager, Grafana and Markdown."""
