-- A run and one entity's events that have an ordinal, by index. Those of retries come without their payloads, which nobody reads: a step may
-- fail a thousand times, with an error of a megabyte each.
SELECT {schema}.clock() AS now, r.run_id, r.workflow, r.queue, r.status, r.last_seq, r.fence, {schema}.deadline(r.wake_at, r.wake_after) AS wake_at, r.key, r.parent, r.parked, r.created_at, r.updated_at, r.stamp,
    e.seqs, e.types, e.entities, e.attempts, e.ats, e.dues, e.tokens, e.dedupes, e.payloads, e.stamps
FROM {schema}.runs r CROSS JOIN LATERAL (
    SELECT array_agg(p.seq) AS seqs, array_agg(p.type) AS types,
        array_agg(p.entity) AS entities, array_agg(p.attempt) AS attempts, array_agg(p.at) AS ats, array_agg(p.due) AS dues,
        array_agg(p.token) AS tokens, array_agg(p.dedupe) AS dedupes, array_agg(CASE WHEN p.type = 12 THEN ''::bytea ELSE p.payload END) AS payloads,
        array_agg(p.stamp) AS stamps
    FROM (
        SELECT * FROM {schema}.entity_events(r.run_id, $2) ORDER BY seq
    ) p
) e
WHERE r.run_id = $1
