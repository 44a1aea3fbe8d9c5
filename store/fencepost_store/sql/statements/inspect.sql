-- Some runs as they stand, each with its whole log but for the payloads, and its tokens: one snapshot, by which an audit judges.
-- 52 is cancel_requested, whose payload says until when the run may take its time; 2 run_started, which may name the run's queue.
SELECT {schema}.clock() AS now, r.run_id, r.workflow, r.queue, r.status, r.last_seq, r.fence, {schema}.deadline(r.wake_at, r.wake_after) AS wake_at, r.key, r.parent, r.parked, r.created_at, r.updated_at,
    e.seqs, e.types, e.entities, e.attempts, e.ats, e.dues, e.tokens, e.dedupes, e.payloads, h.held
FROM {schema}.runs r CROSS JOIN LATERAL (
    SELECT array_agg(p.seq) AS seqs, array_agg(p.type) AS types, array_agg(p.entity) AS entities, array_agg(p.attempt) AS attempts,
        array_agg(p.at) AS ats, array_agg(p.due) AS dues, array_agg(p.token) AS tokens, array_agg(p.dedupe) AS dedupes,
        array_agg(CASE WHEN p.type IN (2, 52) THEN p.payload ELSE ''::bytea END) AS payloads
    FROM (
        SELECT * FROM {schema}.events WHERE run_id = r.run_id ORDER BY seq
    ) p
) e CROSS JOIN LATERAL (
    SELECT array_agg(ARRAY[t.entity, t.token] ORDER BY t.token COLLATE "C") AS held FROM {schema}.hooks t WHERE t.run_id = r.run_id
) h
WHERE r.run_id = ANY ($1::uuid[]) ORDER BY r.run_id
