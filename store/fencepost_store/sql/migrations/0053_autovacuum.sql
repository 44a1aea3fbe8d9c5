-- When the tables are vacuumed, where the server's own settings (a fifth of the table) fit what is done with them badly: docs/operations.md
-- says why. Statistics matter to none of our plans.
ALTER TABLE {schema}.hooks SET (autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE {schema}.run_attributes SET (autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE {schema}.events SET (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_scale_factor = 0.02);
ALTER TABLE {schema}.stream_chunks SET (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_scale_factor = 0.02)
