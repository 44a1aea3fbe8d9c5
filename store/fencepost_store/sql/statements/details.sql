-- What is shown with runs and does not stand in their rows: attributes, and the start of those that have not begun.
SELECT r.run_id, (SELECT jsonb_object_agg(a.name, a.value) FROM {schema}.run_attributes a WHERE a.run_id = r.run_id) AS attributes,
    CASE WHEN r.status = 0 THEN (SELECT e.due FROM {schema}.events e WHERE e.run_id = r.run_id AND e.seq = 1) END AS starts_at
FROM {schema}.runs r WHERE r.run_id = ANY ($1::uuid[])
