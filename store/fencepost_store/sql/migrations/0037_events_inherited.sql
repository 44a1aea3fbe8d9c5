-- Which hooks that runs have inherited a token has named, newest last, as events_token has those that code has opened (34 is hook_inherited).
CREATE INDEX events_inherited ON {schema}.events (token, at) WHERE type = 34
