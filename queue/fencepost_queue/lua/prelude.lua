-- Why: every script of a lane must see its messages the same way; this text stands in front of each of them.
-- The hash of messages is the authority, one packed value per key. The sorted sets only say in which order to look:
-- an entry whose message does not call for it is discarded, a message whose entry is lost gets it back.
local MESSAGES, TICKS, STEPS, LEASES, DELAYS, TICK_BELL, STEP_BELL, COUNTER, GENERATION, SWEEP, REFUSED, ROUND, WAITING, SERVER =
  unpack(KEYS)
local STATE, AT, SINCE, TOKEN, CRASHES, PROOFS, CONFLICTS, ROUNDS = 1, 2, 3, 4, 5, 6, 7, 8
local RECOVER, DIRTY, DIRTY_RECOVER, WITHDRAWN, BODY, CODES, WHY = 9, 10, 11, 12, 13, 14, 15
local FORGIVEN, BEGUN = 16, 17

-- ARGV[1] is empty in production: the server's clock is the only one. Tests put milliseconds there.
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local function unpacked(packed)
  local message = cmsgpack.unpack(packed)
  -- Written by a version that knew of none of these.
  message[CODES], message[WHY] = message[CODES] or '', message[WHY] or ''
  message[FORGIVEN], message[BEGUN] = message[FORGIVEN] or 0, message[BEGUN] or 1
  return message
end

local function load(key)
  local packed = redis.call('HGET', MESSAGES, key)
  return packed and unpacked(packed)
end

local function save(key, message)
  redis.call('HSET', MESSAGES, key, cmsgpack.pack(message))
end

local function create(body, recover, conflicts)
  return {'', 0, 0, '', 0, 0, conflicts, 0, recover, 0, 0, 0, body, '', '', 0, 1}
end

local function is_tick(key)
  return string.sub(key, 1, 2) == 't:'
end

-- The set that a state calls for, and the message's member in it. What somebody's code has refused is in a set of its
-- own, all with one score: so it is in the order of its members, those with the same refusals side by side.
local function set_of(state, key, message)
  if state == 'r' and message[CODES] ~= '' then return REFUSED, message[CODES] .. '|' .. key end
  if state == 'r' then return is_tick(key) and TICKS or STEPS, key end
  return state == 'l' and LEASES or DELAYS, key
end

-- Steps are ready in rounds: each run has one in each, so that none waits for more than one of every other run, however
-- many those have. A run's next goes into the round after the last that it has a step in. ROUND is that of the step
-- which was taken last; WAITING is how many each run has in the set.
local function run_of(key)
  return string.match(key, '^s:([^:]*)') or key
end

local function counted(key, change)
  local count = redis.call('HINCRBY', WAITING, run_of(key), change)
  if count <= 0 then redis.call('HDEL', WAITING, run_of(key)) end
  return count
end

local function leave(key, message)
  if message[STATE] == '' then return end
  local set, member = set_of(message[STATE], key, message)
  redis.call('ZREM', set, member)
  if set == STEPS then counted(key, -1) end
end

local function ring(bell)
  if redis.call('RPUSH', bell, 1) > BELL_TOKENS_MAX then redis.call('LPOP', bell) end
end

local function ring_for(key)
  ring(is_tick(key) and TICK_BELL or STEP_BELL)
end

local function enter(key, message, state, at, since)
  if message[STATE] ~= state then leave(key, message) end
  local set, member = set_of(state, key, message)
  if set == REFUSED then at = 0 end
  if set == STEPS then
    local count = counted(key, 1)
    -- What goes to the front comes in no round. The first one is beyond all that a version placed which knew of none.
    if at >= 0 then
      local round = redis.call('GET', ROUND)
      if not round then redis.call('SET', ROUND, at) end
      at = tonumber(round or at) + count
    end
  end
  message[STATE], message[AT], message[SINCE] = state, at, since
  redis.call('ZADD', set, at, member)
  save(key, message)
end

-- Whatever was refused before: every code may have a look at it.
local function offer_to_all(key, message)
  if message[STATE] == 'r' then
    leave(key, message)
    message[STATE] = ''
  end
  message[CODES], message[WHY] = '', ''
end

-- Every mark that belonged to a lease goes with it.
local function unmark(message)
  message[TOKEN], message[ROUNDS], message[DIRTY], message[DIRTY_RECOVER], message[WITHDRAWN] = '', 0, 0, 0, 0
end

local function make_ready(key, message)
  unmark(message)
  enter(key, message, 'r', redis.call('INCR', COUNTER), now)
  ring_for(key)
end

-- In front of everything that was enqueued; among each other in the order of their coming back.
local function make_ready_first(key, message)
  unmark(message)
  enter(key, message, 'r', redis.call('INCR', COUNTER) - FRONT, now)
  ring_for(key)
end

local function make_delayed(key, message, delay)
  unmark(message)
  enter(key, message, 'd', now + delay, 0)
  -- The next to come due: whoever blocks must learn of it, or a short delay would wait for the end of their block.
  if redis.call('ZRANGE', DELAYS, 0, 0)[1] == key then ring(TICK_BELL) end
end

local function make_leased(key, message, lease, token, rounds)
  unmark(message)
  message[TOKEN], message[ROUNDS] = token, rounds
  -- What was lost before begins when its taker says so: a hand-over that nobody heard of is no crash.
  message[BEGUN] = message[CRASHES] == 0 and now or 0
  enter(key, message, 'l', now + lease, 0)
end

local function owned(key, token)
  local message = load(key)
  return message and message[STATE] == 'l' and message[TOKEN] == token and message
end

local function owner_of(token)
  return string.match(token, '^(.*)%.') or ''
end

local function either(a, b)
  return (a == 1 or b == 1) and 1 or 0
end

-- What an absorbed request leaves behind: the flag, and the set entry that the state calls for.
local function absorb(key, message)
  save(key, message)
  local set, member = set_of(message[STATE], key, message)
  local added = redis.call('ZADD', set, 'NX', message[AT], member)
  if added == 1 and message[STATE] == 'r' then ring_for(key) end
end

local function enqueue(key, body, delay, recover, conflicts)
  local message = load(key)
  if not message then
    message = create(body, recover, conflicts)
    if delay > 0 then
      make_delayed(key, message, delay)
      return 'delayed'
    end
    make_ready(key, message)
    return 'ready'
  end
  if message[STATE] == 'l' then
    if is_tick(key) then
      message[DIRTY], message[DIRTY_RECOVER] = 1, either(message[DIRTY_RECOVER], recover)
    else
      message[RECOVER] = either(message[RECOVER], recover)
    end
    absorb(key, message)
    return is_tick(key) and 'dirty' or 'absorbed'
  end
  message[RECOVER] = either(message[RECOVER], recover)
  if message[STATE] == 'r' and message[CODES] ~= '' and recover == 1 then
    offer_to_all(key, message)
    make_ready(key, message)
    return 'absorbed'
  end
  if message[STATE] == 'd' and delay <= 0 then
    make_ready(key, message)
    return 'earlier'
  end
  if message[STATE] == 'd' and now + delay < message[AT] then
    make_delayed(key, message, delay)
    return 'earlier'
  end
  absorb(key, message)
  return 'absorbed'
end

