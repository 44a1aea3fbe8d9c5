-- What tells one append from any other: a random number, which its events carry, and of the newest visible one the run's row too. After a
-- fail-over that lost a tail the positions of what is lost are given out again; a number that was drawn once is not. 0: from before this.
ALTER TABLE {schema}.events ADD COLUMN stamp bigint NOT NULL DEFAULT 0;
ALTER TABLE {schema}.runs ADD COLUMN stamp bigint NOT NULL DEFAULT 0;
-- A batch without a fence may bring the stamp of an event that it rests on: it lands only if the log has that event at that place.
-- For writers that bring none: as good a number, drawn here.
CREATE FUNCTION {schema}.stamp() RETURNS bigint LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    SELECT (random() * 4611686018427387903)::bigint + 1
$$;
-- append is made once more, with what is compared and what is kept, in each of its two ways: the fence's stamp with the fence, the stamp of an
-- entity's creation with its type, the run of a child with the one that its creation names. o_stamps: of each run's
-- fence after the call; NULL after a plain turn, which knows. Callers of the seventeen older parameters get what they got: they are
-- compared by positions.
DO $body$
DECLARE
    v_text text;
    v_change text[];
BEGIN
    SELECT pg_get_functiondef(p.oid) INTO STRICT v_text FROM pg_proc p
    WHERE p.pronamespace = '{schema}'::regnamespace AND p.proname = 'append';
    FOREACH v_change SLICE 1 IN ARRAY ARRAY[
        [', OUT o_now bigint', ', p_stamps bigint[], p_of bigint[], p_stamp bigint, OUT o_now bigint'],
        ['OUT o_owners text[]', 'OUT o_owners text[], OUT o_stamps bigint[]'],
        ['    -- 0. A plain turn', '    p_stamp := coalesce(p_stamp, {schema}.stamp());
    -- 0. A plain turn'],
        ['fence = r.last_seq + p_mode,', 'fence = r.last_seq + p_mode, stamp = p_stamp,'],
        ['AND r.status < 10
        RETURNING', 'AND r.stamp = coalesce(p_stamps[1], r.stamp) AND r.status < 10
        RETURNING'],
        ['AS wake_at INTO v_run', 'AS wake_at, stamp INTO v_run'],
        ['            v_wakes[1] := v_run.wake_at;', '            v_wakes[1] := v_run.wake_at;
            v_stamps[1] := v_run.stamp;'],
        ['SELECT last_seq, fence, status INTO v_run', 'SELECT last_seq, fence, status, stamp INTO v_run'],
        ['                    o_statuses[b] := v_run.status;
                END IF;', '                    o_statuses[b] := v_run.status;
                    v_stamps[b] := v_run.stamp;
                END IF;'],
        ['AS wake_at
', 'AS wake_at, stamp
'],
        ['            v_wakes[b] := v_run.wake_at;', '            v_wakes[b] := v_run.wake_at;
            v_stamps[b] := v_run.stamp;'],
        ['    -- 8. Attributes', '    o_stamps := v_stamps;

    -- 8. Attributes'],
        ['    o_outcomes := array_fill(4::smallint, ARRAY[v_batches]);', '    o_outcomes := array_fill(4::smallint, ARRAY[v_batches]);
    v_stamps := array_fill(NULL::bigint, ARRAY[v_batches]);'],
        ['    v_wakes bigint[];', '    v_wakes bigint[];
    v_stamps bigint[];'],
        [' THEN
            o_outcomes[b] := 1;', ' OR (p_fences[b] IS NOT NULL AND p_stamps[b] <> v_stamps[b])
            OR (p_fences[b] IS NULL AND p_stamps[b] IS DISTINCT FROM (
                SELECT e.stamp FROM {schema}.events e
                WHERE p_stamps[b] IS NOT NULL AND e.run_id = p_runs[b] AND e.seq = p_seens[b]
            ))
        THEN
            o_outcomes[b] := 1;'],
        ['SELECT e.type, e.ordinal, e.seq::bigint AS seq, e.attempt, e.dedupe, e.due
                            FROM unnest(v_wanted) AS w (ordinal) CROSS JOIN LATERAL (
                                SELECT * FROM {schema}.events k
                                WHERE k.run_id = p_runs[b] AND k.entity = v_entity AND k.ordinal = w.ordinal OFFSET 0
                            ) e
                            UNION', 'SELECT e.type, e.ordinal, e.seq::bigint AS seq, e.attempt, e.dedupe, e.due, e.stamp
                            FROM unnest(v_wanted) AS w (ordinal) CROSS JOIN LATERAL (
                                SELECT * FROM {schema}.events k
                                WHERE k.run_id = p_runs[b] AND k.entity = v_entity AND k.ordinal = w.ordinal OFFSET 0
                            ) e
                            UNION'],
        ['                                o_now + p_due[u.place]
', '                                o_now + p_due[u.place], p_stamp
'],
        ['SELECT e.type, e.ordinal, e.seq::bigint AS seq, e.attempt, e.dedupe, e.due
', 'SELECT e.type, e.ordinal, e.seq::bigint AS seq, e.attempt, e.dedupe, e.due, e.stamp
'],
        ['                            v_created := v_found.type;', '                            v_created := CASE WHEN p_of[i] <> v_found.stamp
                                OR (v_type IN (42, 43) AND p_fences[b] IS NULL AND p_token[i] <> v_found.dedupe) THEN NULL ELSE v_found.type END;'],
        ['                IF o_statuses[b] = 2 THEN', '                v_stamps[b] := p_stamp;
                IF o_statuses[b] = 2 THEN'],
        ['status = o_statuses[b], parked', 'status = o_statuses[b], stamp = v_stamps[b], parked'],
        ['entity, token, dedupe, payload)
            SELECT', 'entity, token, dedupe, payload, stamp)
            SELECT'],
        ['p_entity[n], p_token[n], p_dedupe[n], p_payload[n]
', 'p_entity[n], p_token[n], p_dedupe[n], p_payload[n], p_stamp
'],
        ['entity, token, dedupe, payload)
    SELECT', 'entity, token, dedupe, payload, stamp)
    SELECT'],
        ['o_owners[n] ELSE p_dedupe[n] END, p_payload[n]
', 'o_owners[n] ELSE p_dedupe[n] END, p_payload[n], p_stamp
']
    ] LOOP
        IF position(v_change[1] IN v_text) = 0 THEN
            RAISE EXCEPTION 'append is not as this migration knows it: %', v_change[1];
        END IF;
        v_text := overlay(v_text PLACING v_change[2] FROM position(v_change[1] IN v_text) FOR length(v_change[1]));
    END LOOP;
    EXECUTE v_text;
END
$body$;
CREATE OR REPLACE FUNCTION {schema}.append(
    p_runs uuid[], p_fences integer[], p_seens integer[], p_wakes bigint[], p_graces bigint[],
    p_batch integer[], p_type smallint[], p_ordinal smallint[], p_attempt smallint[], p_due bigint[], p_at bigint[],
    p_hint smallint[], p_entity text[], p_token text[], p_dedupe text[], p_payload bytea[], p_mode integer,
    OUT o_now bigint, OUT o_outcomes smallint[], OUT o_last_seqs integer[], OUT o_fences integer[],
    OUT o_statuses smallint[], OUT o_codes smallint[], OUT o_values bigint[], OUT o_owners text[]
) LANGUAGE plpgsql VOLATILE AS $body$
BEGIN
    SELECT a.o_now, a.o_outcomes, a.o_last_seqs, a.o_fences, a.o_statuses, a.o_codes, a.o_values, a.o_owners
    INTO o_now, o_outcomes, o_last_seqs, o_fences, o_statuses, o_codes, o_values, o_owners
    FROM {schema}.append(
        p_runs, p_fences, p_seens, p_wakes, p_graces, p_batch, p_type, p_ordinal, p_attempt, p_due, p_at, p_hint, p_entity,
        p_token, p_dedupe, p_payload, p_mode, NULL, NULL, NULL
    ) a;
END
$body$
