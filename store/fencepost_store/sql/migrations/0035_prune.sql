-- The one way out of the namespace: takes runs away that have ended, each judged under its own row lock, in the order given.
-- o_outcome: 0 pruned, 1 busy, 2 no such run, 3 unfit, 4 its parent may make it again, 5 so may the run that it goes on for.
-- p_gone, p_dry: only judge, as if those had gone before.
CREATE FUNCTION {schema}.prune(p_runs uuid[], p_previous uuid[], p_older bigint, p_gone uuid[], p_dry boolean)
RETURNS TABLE (o_run uuid, o_outcome smallint)
LANGUAGE plpgsql VOLATILE
-- As in append: every look-up is of single rows by all columns of an index.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $body$
DECLARE
    v_gone uuid[] := CASE WHEN p_dry THEN p_gone ELSE '{}'::uuid[] END;
    v_run record;
    v_parent uuid;
    v_end smallint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'prune needs READ COMMITTED, this transaction is %', current_setting('transaction_isolation')
            USING ERRCODE = '25001';
    END IF;
    FOR place IN 1 .. cardinality(p_runs) LOOP
        o_run := p_runs[place];
        -- 1. The lock. It answers the row as it stands; nothing of an ended run changes but its deadline.
        SELECT status, updated_at, wake_at, parent INTO v_run
        FROM {schema}.runs WHERE run_id = o_run FOR UPDATE SKIP LOCKED;
        IF NOT FOUND THEN
            PERFORM FROM {schema}.runs WHERE run_id = o_run;
            o_outcome := CASE WHEN FOUND THEN 1 ELSE 2 END;
            RETURN NEXT;
            CONTINUE;
        END IF;

        -- 2. The judgement. What it asks of other runs never changes back: they do not return, and an end stays.
        o_outcome := 0;
        IF v_run.status < 10 OR v_run.updated_at > {schema}.clock() - p_older OR v_run.wake_at IS NOT NULL THEN
            o_outcome := 3;
        ELSIF v_run.parent IS NOT NULL THEN
            v_parent := left(v_run.parent, 36)::uuid;
            PERFORM FROM {schema}.runs WHERE run_id = v_parent AND NOT v_parent = ANY (v_gone);
            IF FOUND THEN
                -- 42 and 43: its end is told. A child that was given up (44) is made if absent, as an open one is.
                SELECT type INTO v_end FROM {schema}.events
                WHERE run_id = v_parent AND entity = substr(v_run.parent, 38) AND ordinal = {terminal_ordinal};
                IF NOT FOUND OR v_end NOT IN (42, 43) THEN
                    o_outcome := 4;
                END IF;
            END IF;
        END IF;
        IF o_outcome = 0 AND p_previous[place] IS NOT NULL THEN
            PERFORM FROM {schema}.runs WHERE run_id = p_previous[place] AND NOT run_id = ANY (v_gone);
            IF FOUND THEN
                o_outcome := 5;
            END IF;
        END IF;

        -- 3. From this commit on nobody sees the run. What is left can only be reached through what goes here, and is swept.
        IF o_outcome = 0 AND p_dry THEN
            v_gone := v_gone || o_run;
        ELSIF o_outcome = 0 THEN
            INSERT INTO {schema}.pruned_runs (at, run_id) VALUES ({schema}.clock(), o_run) ON CONFLICT DO NOTHING;
            DELETE FROM {schema}.hooks WHERE run_id = o_run;
            DELETE FROM {schema}.run_attributes WHERE run_id = o_run;
            DELETE FROM {schema}.heartbeats WHERE run_id = o_run;
            DELETE FROM {schema}.streams WHERE run_id = o_run;
            DELETE FROM {schema}.runs WHERE run_id = o_run;
        END IF;
        RETURN NEXT;
    END LOOP;
END
$body$
