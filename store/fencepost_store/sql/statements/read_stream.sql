-- A run's status, a stream's tail and one page of its chunks from an index, from one snapshot. Columns travel as arrays, as in load.
SELECT r.status, s.start, s.tail, s.closed, c.found, c.first, c.last, c.ats, c.writers, c.attempts, c.payloads
FROM {schema}.runs r CROSS JOIN LATERAL (
    SELECT coalesce(max(t.tail), 0) AS tail, coalesce(bool_or(t.closed_by IS NOT NULL), false) AS closed,
        CASE WHEN $3::integer < 0 THEN greatest(0, coalesce(max(t.tail), 0) + $3::integer) ELSE $3::integer END AS start
    FROM {schema}.streams t WHERE t.run_id = r.run_id AND t.name = $2
) s CROSS JOIN LATERAL (
    SELECT count(*) AS found, min(p.index) AS first, max(p.index) AS last, array_agg(p.at) AS ats,
        array_agg(p.writer) AS writers, array_agg(p.attempt) AS attempts, array_agg(p.payload) AS payloads
    FROM (
        SELECT q.*, sum(octet_length(q.payload)) OVER (ORDER BY q.index) AS total FROM (
            SELECT * FROM {schema}.stream_chunks k
            WHERE k.run_id = r.run_id AND k.name = $2 AND k.index >= s.start ORDER BY k.index LIMIT $4
        ) q
    ) p WHERE p.total <= $5 OR p.index = s.start
) c
WHERE r.run_id = $1
