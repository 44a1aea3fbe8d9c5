-- Starts the run that goes on for one that has just ended in run_continued, in the same transaction, with the tokens of its hooks and the
-- payloads that nobody has taken: hook_inherited (34) for each hook, then the payloads (32), in the order in which they were accepted.
-- p_hooks: token, entity in the log of the run before, and the seqs of the payloads.
CREATE FUNCTION {schema}.hand_over(p_before uuid, p_run uuid, p_payload bytea, p_asked jsonb, p_hooks jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE
-- As in append: every look-up is of single rows by all columns of an index.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $body$
DECLARE
    v_created boolean;
    v_at bigint;
    v_tail integer := 1;
    v_landed integer;
    v_hook record;
    v_entities text[] := '{}';
    v_seqs integer[] := '{}';
BEGIN
    SELECT o_created INTO v_created FROM {schema}.start_run(
        p_run, p_asked->>'workflow', p_asked->>'queue', NULL, p_asked->>'parent', p_payload, (p_asked->>'grace')::bigint,
        nullif(p_asked->'attributes', 'null'), NULL, NULL, 0
    );
    IF NOT v_created THEN
        RETURN;
    END IF;
    SELECT at INTO v_at FROM {schema}.events WHERE run_id = p_run AND seq = 1;
    FOR v_hook IN
        SELECT '{inherited}' || o.number AS entity, o.hook->>'token' AS token, e.payload, o.hook->'seqs' AS seqs
        FROM jsonb_array_elements(p_hooks) WITH ORDINALITY AS o (hook, number)
            JOIN {schema}.events e ON e.run_id = p_before AND e.entity = o.hook->>'entity' AND e.ordinal = 0
        ORDER BY o.number
    LOOP
        INSERT INTO {schema}.hooks (run_id, entity, token) VALUES (p_run, v_hook.entity, v_hook.token) ON CONFLICT (token) DO NOTHING;
        CONTINUE WHEN NOT FOUND;
        v_tail := v_tail + 1;
        INSERT INTO {schema}.events (at, run_id, seq, type, ordinal, attempt, entity, token, payload)
        VALUES (v_at, p_run, v_tail, 34, 0, 0, v_hook.entity, v_hook.token, v_hook.payload);
        v_seqs := v_seqs || ARRAY(SELECT jsonb_array_elements_text(v_hook.seqs)::integer);
        v_entities := v_entities || array_fill(v_hook.entity, ARRAY[jsonb_array_length(v_hook.seqs)]);
    END LOOP;
    INSERT INTO {schema}.events (at, run_id, seq, type, attempt, entity, dedupe, payload)
    SELECT v_at, p_run, v_tail + row_number() OVER (ORDER BY e.seq), 32, 0, w.entity, e.dedupe, e.payload
    FROM unnest(v_seqs, v_entities) AS w (seq, entity) CROSS JOIN LATERAL (
        SELECT * FROM {schema}.events k WHERE k.run_id = p_before AND k.seq = w.seq AND k.type = 32 OFFSET 0
    ) e;
    GET DIAGNOSTICS v_landed = ROW_COUNT;
    UPDATE {schema}.runs SET last_seq = v_tail + v_landed, fence = v_tail + v_landed WHERE run_id = p_run;
END
$body$
