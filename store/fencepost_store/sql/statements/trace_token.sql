-- What became of a token: the hook that listens on it, else the newest that did; and which run took a delivery in through it, and has it now.
-- OFFSET 0 keeps the look-ups single, by index: as a join they would compete with reading whole logs. 30 hook_created, 34 hook_inherited.
WITH named AS MATERIALIZED (
    (SELECT e.run_id, e.entity, e.at, e.seq, e.payload, e.stamp, true AS live
    FROM {schema}.hooks h CROSS JOIN LATERAL (
        SELECT * FROM {schema}.events k WHERE k.run_id = h.run_id AND k.entity = h.entity AND k.ordinal = 0 OFFSET 0
    ) e
    WHERE h.token = $1)
    UNION ALL
    (SELECT run_id, entity, at, seq, payload, stamp, false
    FROM {schema}.events e WHERE token = $1 AND type = 30
        AND (SELECT p.status FROM {schema}.runs p WHERE p.run_id = e.run_id) IS NOT NULL -- not pruned and still to be swept
    ORDER BY at DESC, run_id DESC, seq DESC LIMIT {traced_hooks})
    UNION ALL
    (SELECT run_id, entity, at, seq, payload, stamp, false
    FROM {schema}.events e WHERE token = $1 AND type = 34
        AND (SELECT p.status FROM {schema}.runs p WHERE p.run_id = e.run_id) IS NOT NULL
    ORDER BY at DESC, run_id DESC, seq DESC LIMIT {traced_hooks})
), taken AS MATERIALIZED (
    SELECT d.run_id, d.at, d.entity, d.seq, d.payload
    FROM named c CROSS JOIN LATERAL (
        SELECT * FROM {schema}.events k WHERE k.run_id = c.run_id AND k.dedupe = $2 AND k.type = 32 OFFSET 0
    ) d
    WHERE d.entity = c.entity
)
SELECT n.run_id, n.entity, n.at, n.payload, n.stamp, n.live, r.workflow, r.queue, r.status, r.last_seq, r.received_bytes,
    (SELECT t.run_id FROM taken t ORDER BY t.at, starts_with(t.entity, '{inherited}'), t.run_id LIMIT 1) AS taken_by,
    w.run_id AS taken_run, w.entity AS taken_entity, w.seq AS taken_seq, w.payload AS taken_payload
FROM named n CROSS JOIN LATERAL (SELECT * FROM {schema}.runs k WHERE k.run_id = n.run_id OFFSET 0) r
    LEFT JOIN LATERAL (SELECT * FROM taken t ORDER BY t.at DESC, starts_with(t.entity, '{inherited}') DESC, t.run_id DESC LIMIT 1) w ON true
ORDER BY n.live DESC, n.at DESC, n.run_id DESC, n.seq DESC LIMIT 1
