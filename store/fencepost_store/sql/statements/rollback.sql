-- Takes back what begin_planned.sql has begun.
ROLLBACK
