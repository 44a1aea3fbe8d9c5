-- Who listens on a token.
SELECT h.token, h.run_id, h.entity, r.queue FROM {schema}.hooks h CROSS JOIN LATERAL (SELECT * FROM {schema}.runs k WHERE k.run_id = h.run_id OFFSET 0) r WHERE h.token = $1
