-- A sender's delivery id lands once per run: 32 is hook_received, 52 is cancel_requested.
CREATE UNIQUE INDEX events_delivery ON {schema}.events (run_id, dedupe) WHERE type IN (32, 52) AND dedupe IS NOT NULL
