-- Changes a run's attributes: called under the run's row lock, in the transaction of the event that says so. A null takes one away.
CREATE FUNCTION {schema}.set_attributes(p_run uuid, p_changes jsonb) RETURNS void
LANGUAGE sql VOLATILE AS $body$
    DELETE FROM {schema}.run_attributes a USING jsonb_each_text(p_changes) AS c (name, value)
    WHERE a.run_id = p_run AND a.name = c.name AND c.value IS NULL;
    INSERT INTO {schema}.run_attributes AS a (run_id, name, value)
    SELECT p_run, c.name, c.value FROM jsonb_each_text(p_changes) AS c (name, value) WHERE c.value IS NOT NULL
    ON CONFLICT (run_id, name) DO UPDATE SET value = excluded.value WHERE a.value <> excluded.value
$body$
