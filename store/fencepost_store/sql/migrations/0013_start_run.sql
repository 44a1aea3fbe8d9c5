-- Starts a run: run_created and the first deadline in one transaction, or the run that was there before under this key or id.
-- p_start_at or p_start_in: its first turn comes not before that instant, which stands in run_created; p_near: how long before it the
-- deadline is, for the queue holds only what is near. o_starts_in: the time until then by this clock, 0 if it may start now.
CREATE FUNCTION {schema}.start_run(
    p_run uuid, p_workflow text, p_queue text, p_key text, p_parent text, p_payload bytea, p_grace bigint,
    p_attributes jsonb, p_start_at bigint, p_start_in bigint, p_near bigint,
    OUT o_run uuid, OUT o_created boolean, OUT o_payload bytea, OUT o_starts_in bigint
) LANGUAGE plpgsql VOLATILE AS $body$
DECLARE
    v_now bigint := {schema}.clock();
    v_start bigint := coalesce(p_start_at, v_now + p_start_in);
    v_key_run uuid;
BEGIN
    o_starts_in := 0;
    IF v_start <= v_now THEN
        v_start := NULL;
    END IF;
    -- The holder of the key may be pruned between the failed insert and the look-up, hence the loop.
    FOR try IN 1 .. 10 LOOP
        INSERT INTO {schema}.runs
            (created_at, run_id, updated_at, wake_at, last_seq, fence, status, workflow, queue, key, parent)
        VALUES (
            v_now, p_run, v_now,
            CASE WHEN v_start - p_near > v_now THEN v_start - p_near ELSE coalesce(v_start, v_now) + p_grace END,
            1, 1, 0, p_workflow, p_queue, p_key, p_parent
        )
        ON CONFLICT DO NOTHING;
        o_created := FOUND;
        IF o_created THEN
            INSERT INTO {schema}.events (at, due, run_id, seq, type, ordinal, attempt, entity, payload)
            VALUES (v_now, v_start, p_run, 1, 1, 0, 0, '', p_payload);
            IF p_attributes IS NOT NULL THEN
                PERFORM {schema}.set_attributes(p_run, p_attributes);
            END IF;
            o_starts_in := coalesce(v_start - v_now, 0);
            o_run := p_run;
            o_payload := p_payload;
            RETURN;
        END IF;
        SELECT run_id INTO v_key_run FROM {schema}.runs WHERE workflow = p_workflow AND key = p_key;
        o_run := coalesce(v_key_run, p_run);
        SELECT payload INTO o_payload FROM {schema}.events WHERE run_id = o_run AND seq = 1;
        IF FOUND THEN
            RETURN;
        END IF;
    END LOOP;
    RAISE EXCEPTION 'run % of workflow % could neither be created nor found', p_run, p_workflow USING ERRCODE = '40001';
END
$body$
