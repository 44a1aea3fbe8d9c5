-- The one way into a log. Lock the runs' rows first, check and write in later statements, whose snapshots are newer than the locks.
-- One element of p_runs .. p_graces per batch, by run id; one of p_batch .. p_payload per event, by batch and order. p_hint: 1, an
-- earlier event of this call may bear on this one; 2, its entity is created earlier in its own fenced batch. o_codes, per event:
-- 0 landed, 1 already, 2 dropped with its conflicting hook, 3 early, 4 not judged, 5 landed as hook_conflict, 10 and more refused.
-- o_values: seq (0, 1, 5) or rest (3). o_outcomes, per batch: 0 ok, 1 conflict, 2 refused, 3 busy, 4 no such run.
CREATE FUNCTION {schema}.append(
    p_runs uuid[], p_fences integer[], p_seens integer[], p_wakes bigint[], p_graces bigint[],
    p_batch integer[], p_type smallint[], p_ordinal smallint[], p_attempt smallint[], p_due bigint[], p_at bigint[],
    p_hint smallint[], p_entity text[], p_token text[], p_dedupe text[], p_payload bytea[], p_careful boolean,
    OUT o_now bigint, OUT o_outcomes smallint[], OUT o_last_seqs integer[], OUT o_fences integer[],
    OUT o_statuses smallint[], OUT o_codes smallint[], OUT o_values bigint[], OUT o_owners text[]
) LANGUAGE plpgsql VOLATILE AS $body$
DECLARE
    c_grain CONSTANT bigint := {wake_grain};
    c_end CONSTANT smallint := {terminal_ordinal};
    v_batches integer := cardinality(p_runs);
    v_events integer := cardinality(p_type);
    v_wakes bigint[] := array_fill(NULL::bigint, ARRAY[v_batches]);
    v_landed boolean[] := array_fill(false, ARRAY[v_batches]);
    v_bad boolean[] := array_fill(false, ARRAY[v_batches]);
    v_good boolean[] := array_fill(false, ARRAY[v_batches]);
    v_other boolean[] := array_fill(false, ARRAY[v_batches]);
    v_parked boolean[] := array_fill(false, ARRAY[v_batches]);
    v_ended boolean[] := array_fill(false, ARRAY[v_batches]);
    v_seen_all boolean[] := array_fill(false, ARRAY[v_batches]);
    v_run record;
    v_event record;
    v_created smallint;
    v_end_seq bigint;
    v_end_type smallint;
    v_end_attempt smallint;
    v_end_dedupe text;
    v_start_seq bigint;
    v_start_dedupe text;
    v_retry_seq bigint;
    v_retry_dedupe text;
    v_retry_due bigint;
    v_before_seq bigint;
    v_after_seq bigint;
    v_op record;
    v_repeated bigint;
    v_code smallint;
    v_type smallint;
    v_attempt integer;
    v_needed integer;
    v_owner uuid;
    v_dropped bigint;
    b integer;
    i integer;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'append needs READ COMMITTED, this transaction is %', current_setting('transaction_isolation')
            USING ERRCODE = '25001';
    END IF;
    o_outcomes := array_fill(4::smallint, ARRAY[v_batches]);
    o_last_seqs := array_fill(0, ARRAY[v_batches]);
    o_fences := array_fill(0, ARRAY[v_batches]);
    o_statuses := array_fill(0::smallint, ARRAY[v_batches]);
    o_codes := array_fill(4::smallint, ARRAY[v_events]);
    o_values := array_fill(0::bigint, ARRAY[v_events]);

    -- 1. Locks, in run id order. A call with one run waits for it; a call with several passes over what others hold.
    IF v_batches = 1 THEN
        SELECT last_seq, fence, status, wake_at INTO v_run
        FROM {schema}.runs WHERE run_id = p_runs[1] FOR NO KEY UPDATE;
        IF FOUND THEN
            o_outcomes[1] := 0;
            o_last_seqs[1] := v_run.last_seq;
            o_fences[1] := v_run.fence;
            o_statuses[1] := v_run.status;
            v_wakes[1] := v_run.wake_at;
        END IF;
    ELSE
        FOR v_run IN
            SELECT run_id, last_seq, fence, status, wake_at
            FROM {schema}.runs WHERE run_id = ANY (p_runs) ORDER BY run_id FOR NO KEY UPDATE SKIP LOCKED
        LOOP
            b := array_position(p_runs, v_run.run_id);
            o_outcomes[b] := 0;
            o_last_seqs[b] := v_run.last_seq;
            o_fences[b] := v_run.fence;
            o_statuses[b] := v_run.status;
            v_wakes[b] := v_run.wake_at;
        END LOOP;
        FOR b IN 1 .. v_batches LOOP
            IF o_outcomes[b] = 4 THEN
                SELECT last_seq, fence, status INTO v_run FROM {schema}.runs WHERE run_id = p_runs[b];
                IF FOUND THEN
                    o_outcomes[b] := 3;
                    o_last_seqs[b] := v_run.last_seq;
                    o_fences[b] := v_run.fence;
                    o_statuses[b] := v_run.status;
                END IF;
            END IF;
        END LOOP;
    END IF;
    o_now := {schema}.clock();

    -- 2. Fences.
    FOR b IN 1 .. v_batches LOOP
        CONTINUE WHEN o_outcomes[b] <> 0;
        v_ended[b] := o_statuses[b] >= 10;
        v_seen_all[b] := p_seens[b] = o_last_seqs[b];
        IF p_fences[b] <> o_fences[b] THEN
            o_outcomes[b] := 1;
        END IF;
    END LOOP;

    -- 3. A verdict for each event, given that those before it in its batch which may land have landed.
    FOR v_event IN
        SELECT u.entity, u.dedupe, u.place::integer AS i
        FROM unnest(p_entity, p_dedupe) WITH ORDINALITY AS u (entity, dedupe, place)
    LOOP
        i := v_event.i;
        b := p_batch[i];
        CONTINUE WHEN o_outcomes[b] <> 0;
        v_type := p_type[i];
        v_code := 0;
        IF v_ended[b] OR NOT (
            p_hint[i] = 2 OR (p_ordinal[i] IS NOT DISTINCT FROM 0 AND NOT p_careful) OR v_type IN ({run_endings})
        ) THEN
            v_attempt := p_attempt[i];
            v_needed := CASE WHEN v_type BETWEEN 11 AND 44 AND v_type % 10 > 0 THEN v_type - v_type % 10 END;
            v_repeated := NULL;
            IF v_type IN (32, 52) AND v_event.dedupe IS NOT NULL THEN
                SELECT s.seq INTO v_repeated FROM (
                    SELECT e.seq::bigint FROM {schema}.events e
                    WHERE e.run_id = p_runs[b] AND e.dedupe = v_event.dedupe AND e.type IN (32, 52)
                    UNION ALL
                    SELECT -u.place FROM unnest(p_dedupe) WITH ORDINALITY AS u (dedupe, place)
                    WHERE p_hint[i] = 1 AND u.place < i AND p_batch[u.place] = b AND o_codes[u.place] = 0
                        AND p_type[u.place] IN (32, 52) AND u.dedupe = v_event.dedupe
                ) s LIMIT 1;
            END IF;
            IF v_type <> 52 THEN
                SELECT max(s.type) FILTER (WHERE s.ordinal = 0),
                    max(s.seq) FILTER (WHERE s.ordinal = c_end),
                    max(s.type) FILTER (WHERE s.ordinal = c_end),
                    max(s.attempt) FILTER (WHERE s.ordinal = c_end),
                    max(s.dedupe) FILTER (WHERE s.ordinal = c_end),
                    max(s.seq) FILTER (WHERE s.ordinal = v_attempt),
                    max(s.dedupe) FILTER (WHERE s.ordinal = v_attempt),
                    max(s.seq) FILTER (WHERE s.ordinal = -v_attempt),
                    max(s.dedupe) FILTER (WHERE s.ordinal = -v_attempt),
                    max(s.due) FILTER (WHERE s.ordinal = 1 - v_attempt),
                    max(s.seq) FILTER (WHERE s.ordinal = v_attempt - 1),
                    max(s.seq) FILTER (WHERE s.ordinal = v_attempt + 1)
                INTO v_created, v_end_seq, v_end_type, v_end_attempt, v_end_dedupe, v_start_seq, v_start_dedupe,
                    v_retry_seq, v_retry_dedupe, v_retry_due, v_before_seq, v_after_seq
                FROM (
                    SELECT e.type, e.ordinal, e.seq::bigint, e.attempt, e.dedupe, e.due FROM {schema}.events e
                    WHERE e.run_id = p_runs[b] AND e.entity = v_event.entity AND e.ordinal IS NOT NULL
                        AND e.ordinal = ANY (
                            CASE v_type
                                WHEN 11 THEN ARRAY[0, c_end, v_attempt, v_attempt - 1, 1 - v_attempt]::smallint[]
                                WHEN 12 THEN ARRAY[0, c_end, v_attempt, v_attempt + 1, -v_attempt]::smallint[]
                                WHEN 14 THEN ARRAY[0, c_end, v_attempt, v_attempt + 1]::smallint[]
                                ELSE ARRAY[0, c_end, 1]::smallint[]
                            END
                        )
                    UNION ALL
                    SELECT p_type[u.place], p_ordinal[u.place], -u.place, p_attempt[u.place], p_dedupe[u.place],
                        o_now + p_due[u.place]
                    FROM unnest(p_entity) WITH ORDINALITY AS u (entity, place)
                    WHERE p_hint[i] = 1 AND u.place < i AND p_batch[u.place] = b AND o_codes[u.place] = 0
                        AND u.entity = v_event.entity
                ) s;
                v_repeated := CASE
                    WHEN v_type IN (13, 14, 42, 43) AND v_end_type = v_type AND v_end_attempt = v_attempt
                        AND v_end_dedupe = v_event.dedupe THEN v_end_seq
                    WHEN v_type = 12 AND v_retry_dedupe = v_event.dedupe THEN v_retry_seq
                    WHEN v_type = 11 AND v_start_dedupe = v_event.dedupe THEN v_start_seq
                    ELSE v_repeated
                END;
            END IF;
            v_code := CASE
                WHEN v_repeated IS NOT NULL AND v_type <> 11 THEN 1
                WHEN v_ended[b] THEN {run_ended}
                WHEN v_needed IS NOT NULL AND v_created IS DISTINCT FROM v_needed
                    THEN CASE WHEN v_type = 32 THEN {no_live_hook} ELSE {no_entity} END
                WHEN v_needed IS NOT NULL AND v_end_seq IS NOT NULL
                    THEN CASE WHEN v_type = 32 THEN {no_live_hook} WHEN v_type IN (42, 43) THEN {duplicate}
                        ELSE {entity_ended} END
                WHEN v_repeated IS NOT NULL THEN 1
                WHEN v_type = 11 AND (v_start_seq IS NOT NULL OR v_before_seq IS NULL) THEN {other_attempt}
                WHEN v_type = 11 AND v_attempt > 1 AND v_retry_due > o_now THEN 3
                WHEN v_type IN (12, 14) AND (v_start_seq IS NULL OR v_after_seq IS NOT NULL)
                    THEN {other_attempt}
                WHEN v_type = 12 AND v_retry_seq IS NOT NULL THEN {duplicate}
                WHEN v_type IN (2, 41) AND v_after_seq IS NOT NULL THEN {duplicate}
                WHEN p_ordinal[i] = 0 AND v_created IS NOT NULL THEN {duplicate}
                ELSE 0
            END;
            IF v_code = 1 THEN
                o_values[i] := v_repeated;
            ELSIF v_code = 3 THEN
                o_values[i] := v_retry_due - o_now;
            END IF;
        END IF;
        o_codes[i] := v_code;
        IF v_code <= 1 THEN
            v_good[b] := true;
        ELSE
            v_bad[b] := true;
        END IF;
        IF v_code = 0 AND v_type IN ({run_endings}) THEN
            v_ended[b] := true;
        END IF;
    END LOOP;
    FOR b IN 1 .. v_batches LOOP
        IF o_outcomes[b] = 0 AND (NOT v_good[b] OR (v_bad[b] AND p_fences[b] IS NOT NULL)) THEN
            o_outcomes[b] := 2;
            -- What was left to the unique index is looked up now, so that the refusal names every culprit.
            FOR v_event IN
                SELECT u.place::integer AS i
                FROM unnest(p_entity) WITH ORDINALITY AS u (entity, place)
                    JOIN {schema}.events e ON e.run_id = p_runs[b] AND e.entity = u.entity AND e.ordinal = 0
                WHERE p_batch[u.place] = b AND p_ordinal[u.place] = 0 AND o_codes[u.place] = 0 AND p_hint[u.place] <> 2
            LOOP
                o_codes[v_event.i] := {duplicate};
            END LOOP;
        END IF;
    END LOOP;

    -- 4. Hook tokens, in token order over the whole call; within a token, in the order of the events.
    IF p_type && ARRAY[30, 33, {run_endings}]::smallint[] THEN
        FOR v_op IN SELECT * FROM {schema}.token_changes(p_runs, p_batch, p_type, p_entity, p_token, o_outcomes, o_codes)
        LOOP
            i := v_op.place;
            b := p_batch[i];
            IF NOT v_op.taken THEN
                DELETE FROM {schema}.hooks h
                WHERE h.token = v_op.token AND h.run_id = p_runs[b] AND (p_type[i] <> 33 OR h.entity = v_op.entity);
                CONTINUE;
            END IF;
            v_owner := {schema}.take_token(v_op.token, p_runs[b], v_op.entity);
            IF v_owner IS NOT NULL THEN
                o_codes[i] := 5;
                o_owners := coalesce(o_owners, array_fill(NULL::text, ARRAY[v_events]));
                o_owners[i] := v_owner::text;
                FOR v_dropped IN
                    SELECT u.place FROM unnest(p_entity) WITH ORDINALITY AS u (entity, place)
                    WHERE u.place > i AND u.entity = v_op.entity AND p_batch[u.place] = b
                LOOP
                    o_codes[v_dropped] := 2;
                END LOOP;
            END IF;
        END LOOP;
    END IF;

    -- 5. Positions, and what each run's row becomes.
    FOR i IN 1 .. v_events LOOP
        b := p_batch[i];
        CONTINUE WHEN o_outcomes[b] <> 0;
        v_code := o_codes[i];
        IF v_code = 0 OR v_code = 5 THEN
            o_last_seqs[b] := o_last_seqs[b] + 1;
            o_values[i] := o_last_seqs[b];
            v_landed[b] := true;
            v_type := p_type[i];
            IF v_type NOT IN ({invisible}) THEN
                o_fences[b] := o_last_seqs[b];
                IF o_statuses[b] = 2 THEN
                    o_statuses[b] := 1;
                    v_parked[b] := true;
                END IF;
                IF v_type = 2 AND o_statuses[b] = 0 THEN
                    o_statuses[b] := 1;
                ELSIF v_type IN ({run_endings}) THEN
                    o_statuses[b] := v_type + 7;
                END IF;
            END IF;
            IF p_fences[b] IS NULL THEN
                IF v_type = 12 THEN
                    v_wakes[b] := least(v_wakes[b], (o_now + p_due[i] + p_graces[b] + c_grain - 1) / c_grain * c_grain);
                ELSIF v_type <> 11 THEN
                    v_wakes[b] := least(v_wakes[b], (o_now + p_graces[b] + c_grain - 1) / c_grain * c_grain);
                END IF;
            END IF;
        ELSIF v_code = 1 AND o_values[i] < 0 THEN
            o_values[i] := o_values[-o_values[i]];
        END IF;
        IF v_code <> 0 THEN
            v_other[b] := true;
        END IF;
    END LOOP;

    -- 6. The rows. One statement per run, so that no plan can ever be anything but the look-up by key.
    FOR b IN 1 .. v_batches LOOP
        CONTINUE WHEN NOT v_landed[b];
        IF p_fences[b] IS NOT NULL THEN
            v_wakes[b] := CASE WHEN v_seen_all[b] THEN p_wakes[b] ELSE least(v_wakes[b], p_wakes[b]) END;
            IF v_other[b] THEN
                v_wakes[b] := least(v_wakes[b], (o_now + p_graces[b] + c_grain - 1) / c_grain * c_grain);
            END IF;
        END IF;
        UPDATE {schema}.runs r
        SET updated_at = o_now, wake_at = v_wakes[b], last_seq = o_last_seqs[b], fence = o_fences[b],
            status = o_statuses[b], parked = CASE WHEN v_parked[b] THEN NULL ELSE r.parked END
        WHERE r.run_id = p_runs[b];
    END LOOP;

    -- 7. The events.
    INSERT INTO {schema}.events (at, due, run_id, seq, type, ordinal, attempt, entity, token, dedupe, payload)
    SELECT coalesce(u.at, o_now), CASE WHEN u.type = 12 THEN o_now + u.due ELSE u.due END, p_runs[u.batch],
        o_values[u.place]::integer, CASE WHEN o_codes[u.place] = 5 THEN 31 ELSE u.type END, u.ordinal, u.attempt, u.entity,
        u.token, CASE WHEN o_codes[u.place] = 5 THEN o_owners[u.place] ELSE u.dedupe END, u.payload
    FROM unnest(p_batch, p_type, p_ordinal, p_attempt, p_due, p_at, p_entity, p_token, p_dedupe, p_payload)
        WITH ORDINALITY AS u (batch, type, ordinal, attempt, due, at, entity, token, dedupe, payload, place)
    WHERE o_codes[u.place] IN (0, 5) AND o_outcomes[u.batch] = 0;
END
$body$
