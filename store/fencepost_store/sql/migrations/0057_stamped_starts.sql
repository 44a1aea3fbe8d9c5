-- What starts runs and hands hooks over gives their first events a stamp, and a stream's writer is asked for that of its attempt's start:
-- after a fail-over an attempt of the same number may be another's. The functions of an older schema are made anew with that; callers that
-- bring no stamp get what they got.
DO $body$
DECLARE
    v_name text;
    v_old regprocedure;
    v_text text;
    v_change record;
BEGIN
    FOREACH v_name IN ARRAY ARRAY['start_run', 'hand_over', 'write_stream'] LOOP
        SELECT p.oid::regprocedure INTO STRICT v_old FROM pg_proc p
        WHERE p.pronamespace = '{schema}'::regnamespace AND p.proname = v_name;
        v_text := pg_get_functiondef(v_old);
        FOR v_change IN SELECT * FROM (VALUES
            ('start_run', ', OUT o_run uuid', ', p_stamp bigint DEFAULT NULL::bigint, OUT o_run uuid'),
            ('start_run', '    o_starts_in := 0;', '    p_stamp := coalesce(p_stamp, {schema}.stamp());
    o_starts_in := 0;'),
            ('start_run', 'queue, key, parent)', 'queue, key, parent, stamp)'),
            ('start_run', 'p_queue, p_key, p_parent
', 'p_queue, p_key, p_parent, p_stamp
'),
            ('start_run', 'attempt, entity, payload)', 'attempt, entity, payload, stamp)'),
            ('start_run', ''''', p_payload);', ''''', p_payload, p_stamp);'),
            ('hand_over', 'p_hooks jsonb)', 'p_hooks jsonb, p_stamp bigint DEFAULT NULL::bigint)'),
            ('hand_over', 'BEGIN
', 'BEGIN
    p_stamp := coalesce(p_stamp, {schema}.stamp());
'),
            ('hand_over', 'NULL, NULL, 0
', 'NULL, NULL, 0, NULL, p_stamp
'),
            ('hand_over', 'entity, token, payload)', 'entity, token, payload, stamp)'),
            ('hand_over', 'v_hook.token, v_hook.payload);', 'v_hook.token, v_hook.payload, p_stamp);'),
            ('hand_over', 'entity, dedupe, payload)', 'entity, dedupe, payload, stamp)'),
            ('hand_over', 'w.entity, e.dedupe, e.payload
', 'w.entity, e.dedupe, e.payload, p_stamp
'),
            ('hand_over', 'fence = v_tail + v_landed', 'fence = v_tail + v_landed, stamp = p_stamp'),
            ('write_stream', 'p_bytes_max bigint, OUT', 'p_bytes_max bigint, p_stamp bigint DEFAULT NULL::bigint, OUT'),
            ('write_stream', '    v_newest smallint;', '    v_newest smallint;
    v_stamp bigint;'),
            ('write_stream', 'SELECT ordinal INTO v_newest FROM', 'SELECT ordinal, stamp INTO v_newest, v_stamp FROM'),
            ('write_stream', ' THEN
            o_outcome := 3;', ' OR p_stamp <> v_stamp THEN
            o_outcome := 3;')
        ) AS c (name, old, new) WHERE c.name = v_name LOOP
            IF position(v_change.old IN v_text) = 0 THEN
                RAISE EXCEPTION '% is not as this migration knows it: %', v_name, v_change.old;
            END IF;
            v_text := overlay(v_text PLACING v_change.new FROM position(v_change.old IN v_text) FOR length(v_change.old));
        END LOOP;
        EXECUTE 'DROP FUNCTION ' || v_old;
        EXECUTE v_text;
    END LOOP;
END
$body$;
CREATE FUNCTION {schema}.append_continued(
    p_runs uuid[], p_fences integer[], p_seens integer[], p_wakes bigint[], p_graces bigint[],
    p_batch integer[], p_type smallint[], p_ordinal smallint[], p_attempt smallint[], p_due bigint[], p_at bigint[],
    p_hint smallint[], p_entity text[], p_token text[], p_dedupe text[], p_payload bytea[], p_mode integer,
    p_places integer[], p_successors uuid[], p_inputs bytea[], p_asked jsonb[], p_hooks jsonb[],
    p_stamps bigint[], p_of bigint[], p_stamp bigint,
    OUT o_now bigint, OUT o_outcomes smallint[], OUT o_last_seqs integer[], OUT o_fences integer[],
    OUT o_statuses smallint[], OUT o_codes smallint[], OUT o_values bigint[], OUT o_owners text[], OUT o_stamps bigint[]
) LANGUAGE plpgsql VOLATILE AS $body$
BEGIN
    p_stamp := coalesce(p_stamp, {schema}.stamp());
    SELECT * INTO o_now, o_outcomes, o_last_seqs, o_fences, o_statuses, o_codes, o_values, o_owners, o_stamps
    FROM {schema}.append(
        p_runs, p_fences, p_seens, p_wakes, p_graces, p_batch, p_type, p_ordinal, p_attempt, p_due, p_at,
        p_hint, p_entity, p_token, p_dedupe, p_payload, p_mode, p_stamps, p_of, p_stamp
    );
    FOR n IN 1 .. cardinality(p_places) LOOP
        IF o_outcomes[p_places[n]] = 0 THEN
            PERFORM {schema}.hand_over(p_runs[p_places[n]], p_successors[n], p_inputs[n], p_asked[n], p_hooks[n], p_stamp);
        END IF;
    END LOOP;
END
$body$
