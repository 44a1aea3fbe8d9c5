-- Which hooks a token has named, newest last: what became of a hook whose row in hooks is gone (30 is hook_created). One entry per hook.
CREATE INDEX events_token ON {schema}.events (token, at) WHERE type = 30
