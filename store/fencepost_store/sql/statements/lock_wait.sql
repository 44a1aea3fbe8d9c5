-- How long a statement of this session may wait for a lock that somebody else has. Milliseconds; 0: no limit.
SET lock_timeout = {lock_ms}
