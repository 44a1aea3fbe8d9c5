-- Starts a run as before, and may give it the start key of a run that has ended: p_reusable names the statuses that give their key up.
-- A run that is there under this very id is found before the key is looked at: whoever creates a run again must find it, whoever holds
-- the key by then. Callers of the eleven older parameters get what they got.
DROP FUNCTION {schema}.start_run(
    uuid, text, text, text, text, bytea, bigint, jsonb, bigint, bigint, bigint
);
CREATE FUNCTION {schema}.start_run(
    p_run uuid, p_workflow text, p_queue text, p_key text, p_parent text, p_payload bytea, p_grace bigint,
    p_attributes jsonb, p_start_at bigint, p_start_in bigint, p_near bigint, p_reusable smallint[] DEFAULT NULL,
    OUT o_run uuid, OUT o_created boolean, OUT o_payload bytea, OUT o_starts_in bigint
) LANGUAGE plpgsql VOLATILE AS $body$
DECLARE
    v_now bigint := {schema}.clock();
    v_start bigint := coalesce(p_start_at, v_now + p_start_in);
BEGIN
    o_starts_in := 0;
    IF v_start <= v_now THEN
        v_start := NULL;
    END IF;
    IF p_reusable IS NOT NULL THEN
        UPDATE {schema}.runs SET key = NULL WHERE workflow = p_workflow AND key = p_key AND status = ANY (p_reusable);
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
        SELECT run_id INTO o_run FROM {schema}.runs WHERE run_id = p_run;
        IF o_run IS NULL THEN
            SELECT run_id INTO o_run FROM {schema}.runs WHERE workflow = p_workflow AND key = p_key;
        END IF;
        SELECT payload INTO o_payload FROM {schema}.events WHERE run_id = o_run AND seq = 1;
        IF FOUND THEN
            RETURN;
        END IF;
    END LOOP;
    RAISE EXCEPTION 'run % of workflow % could neither be created nor found', p_run, p_workflow USING ERRCODE = '40001';
END
$body$
