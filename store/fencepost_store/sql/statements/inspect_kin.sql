-- Where some runs and their relatives disagree, and their attributes with their logs: one snapshot. $2: how old it must be, microseconds,
-- so that what is under way is no finding. 40 child_created, 42 and 43 its end as told, 7 run_continued, 51 attributes_set.
-- OFFSET 0 and scalar subqueries keep the look-ups single, by index, see trace_token.
WITH asked AS MATERIALIZED (
    SELECT r.*, (SELECT {schema}.clock()) - $2::bigint AS before FROM {schema}.runs r WHERE r.run_id = ANY ($1::uuid[])
), children AS MATERIALIZED (
    SELECT r.run_id, r.before, r.status, r.updated_at, substr(r.parent, 38) AS entity, p.run_id AS parent, p.status AS parent_status, (
        SELECT e.type FROM {schema}.events e WHERE e.run_id = p.run_id AND e.entity = substr(r.parent, 38) AND e.ordinal = 0
    ) AS created, (
        SELECT e.type FROM {schema}.events e
        WHERE e.run_id = p.run_id AND e.entity = substr(r.parent, 38) AND e.ordinal = {terminal_ordinal}
    ) AS ended
    FROM asked r CROSS JOIN LATERAL (SELECT * FROM {schema}.runs k WHERE k.run_id = left(r.parent, 36)::uuid OFFSET 0) p
)
SELECT r.run_id, 'child_missing' AS code, e.entity AS subject, 'there is no run of it, and its end is not in the log' AS found
FROM asked r CROSS JOIN LATERAL (SELECT * FROM {schema}.events k WHERE k.run_id = r.run_id AND k.type = 40 OFFSET 0) e
WHERE e.at <= r.before
    AND coalesce((
        SELECT t.type FROM {schema}.events t WHERE t.run_id = r.run_id AND t.entity = e.entity AND t.ordinal = {terminal_ordinal}
    ), 0) NOT IN (42, 43)
    AND (SELECT c.status FROM {schema}.runs c WHERE c.parent COLLATE "C" = r.run_id || '/' || e.entity LIMIT 1) IS NULL
UNION ALL
SELECT run_id, 'end_not_told', entity, 'its parent ' || parent || ' is open and has not recorded its end'
FROM children
WHERE status >= 10 AND status <> 14 AND updated_at <= before AND parent_status < 10 AND created = 40 AND ended IS NULL
UNION ALL
SELECT run_id, 'child_unknown', entity, 'the log of its parent ' || parent || ' has no such child'
FROM children WHERE created IS DISTINCT FROM 40
UNION ALL
-- The record begins with the successor's id: a tag, a map, the key "run", the length 36.
SELECT r.run_id, 'successor_missing', '', 'it goes on as ' || s.id || ', which does not exist'
FROM asked r CROSS JOIN LATERAL (
    SELECT encode(substring(e.payload FROM 9 FOR 36), 'escape') AS id
    FROM {schema}.events e WHERE e.run_id = r.run_id AND e.entity = '' AND e.ordinal = {terminal_ordinal} AND e.type = 7 OFFSET 0
) s
WHERE r.updated_at <= r.before AND CASE
    WHEN s.id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN (SELECT n.status FROM {schema}.runs n WHERE n.run_id = s.id::uuid) IS NULL
    ELSE true
END
UNION ALL
SELECT r.run_id, 'attributes_disagree', d.name,
    coalesce('it is ' || d.kept, 'it is not set') || ', by the log ' || coalesce('it is ' || d.value, 'it was taken away')
FROM asked r CROSS JOIN LATERAL (
    SELECT s.*, (SELECT a.value FROM {schema}.run_attributes a WHERE a.run_id = r.run_id AND a.name = s.name) AS kept FROM (
        SELECT DISTINCT ON (c.name) c.name, c.value
        FROM (SELECT * FROM {schema}.events k WHERE k.run_id = r.run_id AND k.type = 51 OFFSET 0) e
        CROSS JOIN LATERAL jsonb_each_text(convert_from(substring(e.payload FROM 2), 'UTF8')::jsonb) AS c (name, value)
        ORDER BY c.name, e.seq DESC
    ) s
) d
WHERE d.kept IS DISTINCT FROM d.value
