-- The second guard of one creation, one start per attempt and one end per entity; and the look-up behind every guard of append.
CREATE UNIQUE INDEX events_ordinal ON {schema}.events (run_id, entity, ordinal) WHERE ordinal IS NOT NULL
