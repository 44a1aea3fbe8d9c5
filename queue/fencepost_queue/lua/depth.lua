-- Why: an autoscaler and an operator want one consistent look at a lane.
-- ARGV: now. Answers ready, leased, delayed, age of the oldest ready message (-1: none).
-- Only a claim promotes what is due and takes back what its owner has lost. With no worker alive nobody claims, and both
-- would look like no work: so a delay that is over and a lease that has ended count as ready, since then.
local oldest = -1
for _, set in ipairs({TICKS, STEPS}) do
  -- What was put first is in the order of its coming back, what was enqueued in that of its coming: the oldest tick is
  -- the head of one of the two. A round of steps is in no such order, so more than its head is read.
  for _, from in ipairs({'-inf', 0}) do
    local count = set == STEPS and WORK_PER_CLAIM or 1
    for _, key in ipairs(redis.call('ZRANGEBYSCORE', set, from, '+inf', 'LIMIT', 0, count)) do
      local message = load(key)
      if message and message[STATE] == 'r' then oldest = math.max(oldest, now - message[SINCE]) end
    end
  end
end
local over = 0
local counts = {}
for index, set in ipairs({LEASES, DELAYS}) do
  local ended = redis.call('ZCOUNT', set, '-inf', now)
  if ended > 0 then
    local head = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
    oldest = math.max(oldest, now - tonumber(head[2]))
  end
  over = over + ended
  counts[index] = redis.call('ZCARD', set) - ended
end
local ready = redis.call('ZCARD', TICKS) + redis.call('ZCARD', STEPS) + redis.call('ZCARD', REFUSED) + over
return {ready, counts[1], counts[2], oldest}
