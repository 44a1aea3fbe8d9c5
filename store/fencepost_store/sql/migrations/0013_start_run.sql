-- Starts a run: run_created and the first deadline in one transaction, or the run that was there before under this key or id.
CREATE FUNCTION {schema}.start_run(
    p_run uuid, p_workflow text, p_queue text, p_key text, p_parent text, p_payload bytea, p_grace bigint,
    OUT o_run uuid, OUT o_created boolean, OUT o_payload bytea
) LANGUAGE plpgsql VOLATILE AS $body$
DECLARE
    v_now bigint := {schema}.clock();
    v_key_run uuid;
BEGIN
    -- The holder of the key may be pruned between the failed insert and the look-up, hence the loop.
    FOR try IN 1 .. 10 LOOP
        INSERT INTO {schema}.runs
            (created_at, run_id, updated_at, wake_at, last_seq, fence, status, workflow, queue, key, parent)
        VALUES (v_now, p_run, v_now, v_now + p_grace, 1, 1, 0, p_workflow, p_queue, p_key, p_parent)
        ON CONFLICT DO NOTHING;
        o_created := FOUND;
        IF o_created THEN
            INSERT INTO {schema}.events (at, run_id, seq, type, ordinal, attempt, entity, payload)
            VALUES (v_now, p_run, 1, 1, 0, 0, '', p_payload);
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
