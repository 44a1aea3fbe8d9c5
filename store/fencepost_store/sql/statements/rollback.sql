-- Takes back what begin_bounded.sql has begun.
ROLLBACK
