-- Where some runs and their relatives disagree, and their attributes with their logs: one snapshot. $2: how old it must be, microseconds,
-- so that what is under way is no finding. 40 child_created, 42 and 43 its end as told, 7 run_continued, 51 attributes_set.
WITH asked AS MATERIALIZED (
    SELECT r.*, (SELECT {schema}.clock()) - $2::bigint AS before FROM {schema}.runs r WHERE r.run_id = ANY ($1::uuid[])
)
SELECT r.run_id, 'child_missing' AS code, e.entity AS subject, 'there is no run of it, and its end is not in the log' AS found
FROM asked r JOIN {schema}.events e ON e.run_id = r.run_id AND e.type = 40
WHERE e.at <= r.before
    AND NOT EXISTS (
        SELECT FROM {schema}.events t
        WHERE t.run_id = r.run_id AND t.entity = e.entity AND t.ordinal = {terminal_ordinal} AND t.type IN (42, 43)
    )
    AND NOT EXISTS (SELECT FROM {schema}.runs c WHERE c.parent COLLATE "C" = r.run_id || '/' || e.entity)
UNION ALL
SELECT r.run_id, 'end_not_told', substr(r.parent, 38), 'its parent ' || left(r.parent, 36) || ' is open and has not recorded its end'
FROM asked r JOIN {schema}.runs p ON p.run_id = left(r.parent, 36)::uuid
WHERE r.status >= 10 AND r.status <> 14 AND r.updated_at <= r.before AND p.status < 10
    AND EXISTS (
        SELECT FROM {schema}.events e
        WHERE e.run_id = p.run_id AND e.entity = substr(r.parent, 38) AND e.ordinal = 0 AND e.type = 40
    )
    AND NOT EXISTS (
        SELECT FROM {schema}.events t
        WHERE t.run_id = p.run_id AND t.entity = substr(r.parent, 38) AND t.ordinal = {terminal_ordinal}
    )
UNION ALL
SELECT r.run_id, 'child_unknown', substr(r.parent, 38), 'the log of its parent ' || left(r.parent, 36) || ' has no such child'
FROM asked r JOIN {schema}.runs p ON p.run_id = left(r.parent, 36)::uuid
WHERE NOT EXISTS (
    SELECT FROM {schema}.events e
    WHERE e.run_id = p.run_id AND e.entity = substr(r.parent, 38) AND e.ordinal = 0 AND e.type = 40
)
UNION ALL
-- The record begins with the successor's id: a tag, a map, the key "run", the length 36.
SELECT r.run_id, 'successor_missing', '', 'it goes on as ' || s.id || ', which does not exist'
FROM asked r CROSS JOIN LATERAL (
    SELECT encode(substring(e.payload FROM 9 FOR 36), 'escape') AS id
    FROM {schema}.events e WHERE e.run_id = r.run_id AND e.entity = '' AND e.ordinal = {terminal_ordinal} AND e.type = 7
) s
WHERE r.updated_at <= r.before AND CASE
    WHEN s.id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN NOT EXISTS (SELECT FROM {schema}.runs n WHERE n.run_id = s.id::uuid)
    ELSE true
END
UNION ALL
SELECT r.run_id, 'attributes_disagree', d.name,
    coalesce('it is ' || a.value, 'it is not set') || ', by the log ' || coalesce('it is ' || d.value, 'it was taken away')
FROM asked r CROSS JOIN LATERAL (
    SELECT DISTINCT ON (c.name) c.name, c.value
    FROM {schema}.events e
    CROSS JOIN LATERAL jsonb_each_text(convert_from(substring(e.payload FROM 2), 'UTF8')::jsonb) AS c (name, value)
    WHERE e.run_id = r.run_id AND e.type = 51 ORDER BY c.name, e.seq DESC
) d LEFT JOIN {schema}.run_attributes a ON a.run_id = r.run_id AND a.name = d.name
WHERE a.value IS DISTINCT FROM d.value
