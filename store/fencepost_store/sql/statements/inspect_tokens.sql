-- A page of tokens, and which of them are held by a run that does not exist.
SELECT h.token, h.run_id, h.entity, r.run_id IS NULL AS stray
FROM {schema}.hooks h LEFT JOIN LATERAL (SELECT * FROM {schema}.runs k WHERE k.run_id = h.run_id OFFSET 0) r ON true
WHERE h.token > $1 ORDER BY h.token LIMIT $2
