-- Writes one row of the event table of the protocol.
INSERT INTO {schema}.event_kinds (type, name, decision, visible, role, ends_run) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (type) DO UPDATE SET name = excluded.name, decision = excluded.decision, visible = excluded.visible,
    role = excluded.role, ends_run = excluded.ends_run
