-- The one way into a stream. Lock its row first, judge and write in later statements, whose snapshots are newer than the lock.
-- o_outcome: 0 ok, 1 complete, 2 closed, 3 fenced, 4 full, 5 run ended, 6 no such run, 7 the writer counts more than is there.
CREATE FUNCTION {schema}.write_stream(
    p_run uuid, p_name text, p_writer text, p_attempt smallint, p_first integer, p_payloads bytea[], p_close boolean,
    p_bytes_max bigint,
    OUT o_outcome smallint, OUT o_tail integer, OUT o_written integer, OUT o_sent integer, OUT o_closed boolean
) LANGUAGE plpgsql VOLATILE
-- As in append: every look-up is of single rows by all columns of an index, whatever the planner believes of the tables.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $body$
DECLARE
    v_chunks integer := cardinality(p_payloads);
    v_stream record;
    v_writer record;
    v_known boolean;
    v_status smallint;
    v_newest smallint;
    v_now bigint;
    v_size bigint;
    v_count integer;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'write_stream needs READ COMMITTED, this transaction is %', current_setting('transaction_isolation')
            USING ERRCODE = '25001';
    END IF;
    LOOP
        -- 1. The lock. A stream that is not there has no row to lock, so it is made under a share of the run's lock: then the run's end
        -- comes before it and is seen, or waits for it. Whoever finds the run ended and locks the row knows that nothing follows.
        SELECT tail, size, closed_by, closed_attempt INTO v_stream
        FROM {schema}.streams WHERE run_id = p_run AND name = p_name FOR NO KEY UPDATE;
        v_known := FOUND;
        IF NOT v_known THEN
            PERFORM FROM {schema}.runs WHERE run_id = p_run FOR SHARE;
        END IF;

        -- 2. The judgement.
        SELECT attempt, sent, written INTO v_writer
        FROM {schema}.stream_writers WHERE run_id = p_run AND name = p_name AND writer = p_writer;
        o_tail := coalesce(v_stream.tail, 0);
        o_written := coalesce(v_writer.written, 0);
        o_sent := CASE WHEN v_writer.attempt = p_attempt THEN v_writer.sent ELSE 0 END;
        o_closed := v_stream.closed_by IS NOT NULL;
        IF (v_chunks > 0 OR p_close) AND v_writer.attempt = p_attempt AND o_sent >= p_first + v_chunks
            AND (NOT p_close OR (v_stream.closed_by = p_writer AND v_stream.closed_attempt = p_attempt))
        THEN
            -- Sent again, and all of it is there: as good as landed, whatever has happened since.
            o_outcome := 0;
            RETURN;
        END IF;
        SELECT status INTO v_status FROM {schema}.runs WHERE run_id = p_run;
        IF NOT FOUND THEN
            o_outcome := 6;
            RETURN;
        ELSIF v_status >= 10 THEN
            o_outcome := 5;
            RETURN;
        END IF;
        -- The step's newest start, or its end, which stands above all of them.
        SELECT ordinal INTO v_newest FROM {schema}.events
        WHERE run_id = p_run AND entity = p_writer AND ordinal IS NOT NULL ORDER BY ordinal DESC LIMIT 1;
        IF v_newest IS DISTINCT FROM p_attempt THEN
            o_outcome := 3;
            RETURN;
        ELSIF o_closed THEN
            o_outcome := CASE WHEN v_stream.closed_by = p_writer AND v_stream.closed_attempt < p_attempt THEN 1 ELSE 2 END;
            RETURN;
        ELSIF p_first > o_sent THEN
            o_outcome := 7;
            RETURN;
        END IF;
        EXIT WHEN v_known;
        v_now := {schema}.clock();
        INSERT INTO {schema}.streams (created_at, updated_at, size, run_id, tail, name)
        VALUES (v_now, v_now, 0, p_run, 0, p_name) ON CONFLICT DO NOTHING;
        -- Then it is locked as any other; somebody else may have made it first.
    END LOOP;

    -- 3. The chunks that are not there yet, as far as they fit.
    v_now := {schema}.clock();
    o_outcome := 0;
    v_count := p_first + v_chunks - o_sent;
    v_size := v_stream.size;
    IF v_count > 0 THEN
        SELECT count(*), coalesce(max(f.total), v_size) INTO v_count, v_size FROM (
            SELECT v_stream.size + sum(octet_length(p_payloads[n])) OVER (ORDER BY n) AS total
            FROM generate_series(o_sent - p_first + 1, v_chunks) AS n
        ) f WHERE f.total <= p_bytes_max;
        IF v_count < p_first + v_chunks - o_sent THEN
            o_outcome := 4;
        END IF;
        INSERT INTO {schema}.stream_chunks (at, run_id, index, attempt, name, writer, payload)
        SELECT v_now, p_run, o_tail + n - 1, p_attempt, p_name, p_writer, p_payloads[o_sent - p_first + n]
        FROM generate_series(1, v_count) AS n;
    ELSE
        v_count := 0;
    END IF;
    o_tail := o_tail + v_count;
    o_written := o_written + v_count;
    o_sent := o_sent + v_count;
    o_closed := p_close AND o_outcome = 0;
    UPDATE {schema}.streams SET updated_at = v_now, size = v_size, tail = o_tail,
        closed_by = CASE WHEN o_closed THEN p_writer END, closed_attempt = CASE WHEN o_closed THEN p_attempt END
    WHERE run_id = p_run AND name = p_name;
    INSERT INTO {schema}.stream_writers AS w (run_id, sent, written, attempt, name, writer)
    VALUES (p_run, o_sent, o_written, p_attempt, p_name, p_writer)
    ON CONFLICT (run_id, name, writer) DO UPDATE
        SET sent = excluded.sent, written = excluded.written, attempt = excluded.attempt;
END
$body$
