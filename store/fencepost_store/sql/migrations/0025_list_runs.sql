-- A page of runs, newest first. The statement is put together from what is asked and planned for it: one statement for all questions
-- would be planned for none, and would read the whole table where an index has the answer. p_attributes has an array of texts per name; any of the
-- texts will do.
CREATE FUNCTION {schema}.list_runs(
    p_before uuid, p_workflow text, p_statuses smallint[], p_queue text, p_attributes jsonb, p_limit integer
) RETURNS SETOF {schema}.runs
LANGUAGE plpgsql STABLE AS $body$
DECLARE
    v_from text := '';
    v_where text := '';
    v_wanted record;
    v_place integer := 0;
BEGIN
    FOR v_wanted IN
        SELECT a.name, coalesce((SELECT string_agg(quote_literal(t), ', ') FROM jsonb_array_elements_text(a.texts) AS t), 'NULL') AS texts
        FROM jsonb_each(p_attributes) AS a (name, texts)
    LOOP
        v_place := v_place + 1;
        v_from := v_from || format(
            ' JOIN {schema}.run_attributes a%1$s ON a%1$s.run_id = r.run_id AND a%1$s.name = %2$L AND a%1$s.value IN (%3$s)',
            v_place, v_wanted.name, v_wanted.texts
        );
    END LOOP;
    IF p_statuses IS NOT NULL THEN
        v_where := v_where || format(' AND r.status = ANY (%L::smallint[])', p_statuses);
    END IF;
    IF p_workflow IS NOT NULL THEN
        v_where := v_where || format(' AND r.workflow = %L', p_workflow);
    END IF;
    IF p_queue IS NOT NULL THEN
        v_where := v_where || format(' AND r.queue = %L', p_queue);
    END IF;
    IF p_before IS NOT NULL THEN
        v_where := v_where || format(' AND r.run_id < %L::uuid', p_before);
    END IF;
    RETURN QUERY EXECUTE 'SELECT r.* FROM {schema}.runs r' || v_from || ' WHERE true' || v_where
        || format(' ORDER BY r.run_id DESC LIMIT %s', p_limit);
END
$body$
