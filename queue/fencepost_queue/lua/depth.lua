-- Why: an autoscaler and an operator want one consistent look at a lane.
-- ARGV: now. Answers ready, leased, delayed, age of the oldest ready message (-1: none).
local oldest = -1
for _, set in ipairs({TICKS, STEPS}) do
  local head = redis.call('ZRANGE', set, 0, 0)[1]
  local message = head and load(head)
  if message and message[STATE] == 'r' then oldest = math.max(oldest, now - message[SINCE]) end
end
local ready = redis.call('ZCARD', TICKS) + redis.call('ZCARD', STEPS)
return {ready, redis.call('ZCARD', LEASES), redis.call('ZCARD', DELAYS), oldest}
