-- A run, the database clock and one page of its events above a seq, from one snapshot. Columns travel as arrays: half the cost of rows. A page
-- ends before its payloads would have more than $4 bytes, but has one event at least: no row of Postgres may have a gigabyte.
-- A caller who names the stamp of the event at that seq gets the log from its beginning if it holds another event there, or none.
SELECT {schema}.clock() AS now, r.run_id, r.workflow, r.queue, r.status, r.last_seq, r.fence, {schema}.deadline(r.wake_at, r.wake_after) AS wake_at, r.key, r.parent, r.parked, r.created_at, r.updated_at, r.stamp,
    a.after, e.found, e.first, e.last, e.types, e.entities, e.attempts, e.ats, e.dues, e.tokens, e.dedupes, e.payloads, e.stamps
FROM {schema}.runs r CROSS JOIN LATERAL (
    SELECT CASE WHEN $5::bigint IS NULL OR (
        SELECT k.stamp FROM {schema}.events k WHERE k.run_id = r.run_id AND k.seq = $2
    ) = $5 THEN $2 ELSE 0 END AS after
) a CROSS JOIN LATERAL (
    SELECT count(*) AS found, min(p.seq) AS first, max(p.seq) AS last, array_agg(p.type) AS types,
        array_agg(p.entity) AS entities, array_agg(p.attempt) AS attempts, array_agg(p.at) AS ats, array_agg(p.due) AS dues,
        array_agg(p.token) AS tokens, array_agg(p.dedupe) AS dedupes, array_agg(p.payload) AS payloads,
        array_agg(p.stamp) AS stamps
    FROM (
        SELECT * FROM (
            SELECT k.*, sum(octet_length(k.payload)) OVER (ORDER BY k.seq ROWS UNBOUNDED PRECEDING) AS total
            FROM {schema}.events k WHERE k.run_id = r.run_id AND k.seq > a.after AND k.seq <= a.after + $3
        ) q WHERE q.total <= $4 OR q.seq = a.after + 1 ORDER BY q.seq
    ) p
) e
WHERE r.run_id = $1
