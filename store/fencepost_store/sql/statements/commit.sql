-- Ends what begin_planned.sql has begun.
COMMIT
