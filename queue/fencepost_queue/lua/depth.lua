-- Why: an autoscaler and an operator want one consistent look at a lane.
-- ARGV: now. Answers ready, leased, delayed, age of the oldest ready message (-1: none).
local oldest = -1
for _, set in ipairs({TICKS, STEPS}) do
  -- What was put first is in the order of its coming back, what was enqueued in that of its coming: the oldest is the
  -- head of one of the two.
  for _, from in ipairs({'-inf', 0}) do
    local head = redis.call('ZRANGEBYSCORE', set, from, '+inf', 'LIMIT', 0, 1)[1]
    local message = head and load(head)
    if message and message[STATE] == 'r' then oldest = math.max(oldest, now - message[SINCE]) end
  end
end
local ready = redis.call('ZCARD', TICKS) + redis.call('ZCARD', STEPS)
return {ready, redis.call('ZCARD', LEASES), redis.call('ZCARD', DELAYS), oldest}
