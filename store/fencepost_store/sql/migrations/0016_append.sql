-- The one way into a log. Lock the runs' rows first, check and write in later statements, whose snapshots are newer than the locks.
-- One element of p_runs .. p_graces per batch, by run id; one of p_batch .. p_payload per event, by batch and order. p_hint: 1, an
-- earlier event of this call may bear on this one; 2, its entity is created earlier in its own fenced batch. o_codes, per event:
-- 0 landed, 1 already, 2 dropped with its conflicting hook, 3 early, 4 not judged, 5 landed as hook_conflict, 10 and more refused.
-- o_values: seq (0, 1, 5) or rest (3); NULL, as o_codes, if all has landed as asked at the log's tail. p_mode: -1, look up what is
-- normally left to the unique index; above 0, a plain turn of one run, whose p_mode-th event is its last visible one. o_outcomes, per batch: 0 ok, 1 conflict, 2 refused, 3 busy, 4 no such run.
CREATE FUNCTION {schema}.append(
    p_runs uuid[], p_fences integer[], p_seens integer[], p_wakes bigint[], p_graces bigint[],
    p_batch integer[], p_type smallint[], p_ordinal smallint[], p_attempt smallint[], p_due bigint[], p_at bigint[],
    p_hint smallint[], p_entity text[], p_token text[], p_dedupe text[], p_payload bytea[], p_mode integer,
    OUT o_now bigint, OUT o_outcomes smallint[], OUT o_last_seqs integer[], OUT o_fences integer[],
    OUT o_statuses smallint[], OUT o_codes smallint[], OUT o_values bigint[], OUT o_owners text[]
) LANGUAGE plpgsql VOLATILE
-- Left to itself the planner plans every statement anew in every call, because a short array looks cheaper than an unknown one.
SET plan_cache_mode = force_generic_plan
-- Statistics of short logs make it look cheap to read a whole log and filter it; but one run's log may be long. Every look-up in here is of
-- single rows by all columns of an index, and with these two ways closed nothing undercuts that.
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $body$
DECLARE
    c_grain CONSTANT bigint := {wake_grain};
    c_end CONSTANT smallint := {terminal_ordinal};
    v_batches integer := cardinality(p_runs);
    v_events integer := cardinality(p_type);
    v_wakes bigint[];
    v_landed boolean[];
    v_bad boolean[];
    v_good boolean[];
    v_other boolean[];
    v_parked boolean[];
    v_ended boolean[];
    v_seen_all boolean[];
    v_run record;
    v_found record;
    v_op record;
    v_places refcursor;
    v_entity text;
    v_dedupe text;
    v_wanted integer[];
    v_place integer;
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
    -- 0. A plain turn of one run, by far the commonest call: nothing in it can be refused by an honest writer. The update is lock, fence and
    -- new row in one, which is safe because it looks at nothing but the row that it locks. What does not fit goes the long way.
    IF p_mode > 0 THEN
        UPDATE {schema}.runs r
        SET updated_at = {schema}.clock(), last_seq = r.last_seq + v_events, fence = r.last_seq + p_mode,
            wake_at = CASE WHEN r.last_seq = p_seens[1] THEN p_wakes[1] ELSE least(r.wake_at, p_wakes[1]) END,
            status = CASE WHEN r.status = 2 OR (r.status = 0 AND 2 = ANY (p_type)) THEN 1 ELSE r.status END, parked = NULL
        WHERE r.run_id = p_runs[1] AND r.fence = p_fences[1] AND r.status < 10
        RETURNING r.updated_at, ARRAY[0::smallint], ARRAY[r.last_seq], ARRAY[r.fence], ARRAY[r.status]
        INTO o_now, o_outcomes, o_last_seqs, o_fences, o_statuses;
        IF FOUND THEN
            -- A scalar subquery, which no planner turns into a join: a join may read the whole log of the run to make its hash table.
            IF EXISTS (
                SELECT FROM generate_series(1, v_events) AS n
                WHERE p_hint[n] = 0 AND p_type[n] BETWEEN 11 AND 44 AND p_type[n] % 10 > 0 AND (
                    SELECT e.type FROM {schema}.events e
                    WHERE e.run_id = p_runs[1] AND e.entity = p_entity[n] AND e.ordinal = 0
                ) IS DISTINCT FROM p_type[n] - p_type[n] % 10
            ) THEN
                RAISE EXCEPTION 'an event of an entity that was never created' USING ERRCODE = '23505';
            END IF;
            INSERT INTO {schema}.events (at, due, run_id, seq, type, ordinal, attempt, entity, token, dedupe, payload)
            SELECT coalesce(p_at[n], o_now), p_due[n], p_runs[1], o_last_seqs[1] - v_events + n, p_type[n], p_ordinal[n],
                p_attempt[n], p_entity[n], p_token[n], p_dedupe[n], p_payload[n]
            FROM generate_series(1, v_events) AS n;
            RETURN;
        END IF;
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
    FOR i IN 1 .. v_events LOOP
        b := p_batch[i];
        CONTINUE WHEN o_outcomes[b] <> 0;
        v_type := p_type[i];
        v_code := 0;
        IF v_ended[b] IS TRUE OR NOT (
            p_hint[i] = 2 OR (p_ordinal[i] IS NOT DISTINCT FROM 0 AND p_mode >= 0) OR v_type IN ({run_endings})
        ) THEN
            <<judgement>>
            DECLARE  -- anew for each event
                v_created smallint;
                v_end_seq bigint;
                v_start_seq bigint;
                v_retry_seq bigint;
                v_retry_due bigint;
                v_before_seq bigint;
                v_after_seq bigint;
                v_repeated bigint;
            BEGIN
                v_attempt := p_attempt[i];
                v_entity := p_entity[i];
                v_dedupe := p_dedupe[i];
                v_needed := CASE WHEN v_type BETWEEN 11 AND 44 AND v_type % 10 > 0 THEN v_type - v_type % 10 END;
                IF v_type IN (32, 52) AND v_dedupe IS NOT NULL THEN
                    SELECT e.seq INTO v_repeated FROM {schema}.events e
                    WHERE e.run_id = p_runs[b] AND e.dedupe = v_dedupe AND e.type IN (32, 52);
                    IF v_repeated IS NULL AND p_hint[i] = 1 THEN
                        SELECT -u.place INTO v_repeated FROM unnest(p_dedupe) WITH ORDINALITY AS u (dedupe, place)
                        WHERE u.place < i AND p_batch[u.place] = b AND o_codes[u.place] = 0
                            AND p_type[u.place] IN (32, 52) AND u.dedupe = v_dedupe;
                    END IF;
                END IF;
                IF v_type <> 52 THEN
                    -- At most five look-ups in the unique index, and what this batch itself has said of the entity. OFFSET 0 keeps them
                    -- single: as one scan for several ordinals they would compete with reading the whole log.
                    v_wanted := CASE v_type
                        WHEN 11 THEN ARRAY[0, c_end, v_attempt, v_attempt - 1, 1 - v_attempt]
                        WHEN 12 THEN ARRAY[0, c_end, v_attempt, v_attempt + 1, -v_attempt]
                        WHEN 14 THEN ARRAY[0, c_end, v_attempt, v_attempt + 1]
                        WHEN 2 THEN ARRAY[1]
                        WHEN 41 THEN ARRAY[0, c_end, 1]
                        ELSE ARRAY[0, c_end]
                    END;
                    IF p_hint[i] = 1 THEN
                        OPEN v_places FOR
                            SELECT e.type, e.ordinal, e.seq::bigint AS seq, e.attempt, e.dedupe, e.due
                            FROM unnest(v_wanted) AS w (ordinal) CROSS JOIN LATERAL (
                                SELECT * FROM {schema}.events k
                                WHERE k.run_id = p_runs[b] AND k.entity = v_entity AND k.ordinal = w.ordinal OFFSET 0
                            ) e
                            UNION ALL
                            SELECT p_type[u.place], p_ordinal[u.place], -u.place, p_attempt[u.place], p_dedupe[u.place],
                                o_now + p_due[u.place]
                            FROM unnest(p_entity) WITH ORDINALITY AS u (entity, place)
                            WHERE u.place < i AND p_batch[u.place] = b AND o_codes[u.place] = 0 AND u.entity = v_entity;
                    ELSE
                        OPEN v_places FOR
                            SELECT e.type, e.ordinal, e.seq::bigint AS seq, e.attempt, e.dedupe, e.due
                            FROM unnest(v_wanted) AS w (ordinal) CROSS JOIN LATERAL (
                                SELECT * FROM {schema}.events k
                                WHERE k.run_id = p_runs[b] AND k.entity = v_entity AND k.ordinal = w.ordinal OFFSET 0
                            ) e;
                    END IF;
                    LOOP
                        FETCH v_places INTO v_found;
                        EXIT WHEN NOT FOUND;
                        v_place := v_found.ordinal;
                        IF v_place = c_end THEN
                            v_end_seq := v_found.seq;
                            IF v_type IN (13, 14, 42, 43) AND v_found.type = v_type AND v_found.attempt = v_attempt
                                AND v_found.dedupe = v_dedupe
                            THEN
                                v_repeated := v_found.seq;
                            END IF;
                            CONTINUE;
                        END IF;
                        IF v_place = 0 THEN
                            v_created := v_found.type;
                        END IF;
                        IF v_place = v_attempt - 1 THEN
                            v_before_seq := v_found.seq;
                        END IF;
                        -- step_failed 0 takes the creation for its start: it may land for as long as there is no start 1.
                        IF v_place = v_attempt THEN
                            v_start_seq := v_found.seq;
                            IF v_type = 11 AND v_found.dedupe = v_dedupe THEN
                                v_repeated := v_found.seq;
                            END IF;
                        ELSIF v_place = v_attempt + 1 THEN
                            v_after_seq := v_found.seq;
                        ELSIF v_place = 1 - v_attempt THEN
                            v_retry_due := v_found.due;
                        ELSIF v_place = -v_attempt THEN
                            v_retry_seq := v_found.seq;
                            IF v_type = 12 AND v_found.dedupe = v_dedupe THEN
                                v_repeated := v_found.seq;
                            END IF;
                        END IF;
                    END LOOP;
                    CLOSE v_places;
                END IF;
                v_code := CASE
                    WHEN v_repeated IS NOT NULL AND v_type <> 11 THEN 1
                    WHEN v_ended[b] IS TRUE THEN {run_ended}
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
            END judgement;
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
        IF o_outcomes[b] = 0 AND (v_good[b] IS NOT TRUE OR (v_bad[b] IS TRUE AND p_fences[b] IS NOT NULL)) THEN
            o_outcomes[b] := 2;
            -- What was left to the unique index is looked up now, so that the refusal names every culprit.
            FOR v_dropped IN
                SELECT u.place
                FROM unnest(p_entity) WITH ORDINALITY AS u (entity, place)
                    JOIN {schema}.events e ON e.run_id = p_runs[b] AND e.entity = u.entity AND e.ordinal = 0
                WHERE p_batch[u.place] = b AND p_ordinal[u.place] = 0 AND o_codes[u.place] = 0 AND p_hint[u.place] <> 2
            LOOP
                o_codes[v_dropped] := {duplicate};
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
        CONTINUE WHEN v_landed[b] IS NOT TRUE;
        IF p_fences[b] IS NOT NULL THEN
            v_wakes[b] := CASE WHEN v_seen_all[b] THEN p_wakes[b] ELSE least(v_wakes[b], p_wakes[b]) END;
            IF v_other[b] IS TRUE THEN
                v_wakes[b] := least(v_wakes[b], (o_now + p_graces[b] + c_grain - 1) / c_grain * c_grain);
            END IF;
        END IF;
        UPDATE {schema}.runs r
        SET updated_at = o_now, wake_at = v_wakes[b], last_seq = o_last_seqs[b], fence = o_fences[b],
            status = o_statuses[b], parked = CASE WHEN v_parked[b] IS TRUE THEN NULL ELSE r.parked END
        WHERE r.run_id = p_runs[b];
    END LOOP;

    -- 7. The events. PL/pgSQL keeps its arrays taken apart, so a subscript costs the same wherever it points.
    INSERT INTO {schema}.events (at, due, run_id, seq, type, ordinal, attempt, entity, token, dedupe, payload)
    SELECT coalesce(p_at[n], o_now), CASE WHEN p_type[n] = 12 THEN o_now + p_due[n] ELSE p_due[n] END, p_runs[p_batch[n]],
        o_values[n], CASE WHEN o_codes[n] = 5 THEN 31 ELSE p_type[n] END, p_ordinal[n], p_attempt[n], p_entity[n], p_token[n],
        CASE WHEN o_codes[n] = 5 THEN o_owners[n] ELSE p_dedupe[n] END, p_payload[n]
    FROM generate_series(1, v_events) AS n
    WHERE o_codes[n] IN (0, 5) AND o_outcomes[p_batch[n]] = 0;

    -- 8. Attributes, for look-ups: in the order of their events. The payload is a tag byte and JSON.
    IF 51 = ANY (p_type) THEN
        FOR i IN 1 .. v_events LOOP
            IF p_type[i] = 51 AND o_codes[i] = 0 AND o_outcomes[p_batch[i]] = 0 THEN
                PERFORM {schema}.set_attributes(p_runs[p_batch[i]], convert_from(substring(p_payload[i] FROM 2), 'UTF8')::jsonb);
            END IF;
        END LOOP;
    END IF;
END
$body$
