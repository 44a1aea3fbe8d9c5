-- Why: a hand-over must leave no moment in which a message is in nobody's hands, and only the server knows what is due.
-- ARGV: now, limit, steps, lease, new generation, token prefix, the caller's code (empty: it says nothing of it), ticks, the identity of
-- the server as the caller knows it (empty: the server tells nobody).
-- Answers generation, sweep, next due (-1: none), whether steps wait, then one array per delivery.
local limit, steps, lease, turns = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[8])

local function field(section, name)
  return string.match(redis.call('INFO', section), name .. ':([^\r\n]*)') or ''
end

-- As connection.py reads it: which process this is, and whose data it goes on from.
local function identity()
  local found = field('server', 'run_id') .. '/' .. field('replication', 'master_replid')
  return found == '/' and '' or found
end

-- Who finds the data gone is to sweep. That is leased as a message is: if it dies, or never heard of it, another is (H127). Data that
-- another server has made are older than what was lost with it, by how much nobody knows (H220). A caller whose connection is
-- older than a change of the server's role may be wrong, the server is not.
local generation, swept_until, server = unpack(redis.call('MGET', GENERATION, SWEEP, SERVER))
local sweep = 0
if not generation or (ARGV[9] ~= '' and server ~= ARGV[9] and server ~= identity()) then
  generation, sweep = ARGV[5], 1
  redis.call('SET', GENERATION, generation)
  redis.call('SET', SERVER, identity())
elseif swept_until and tonumber(swept_until) <= now then
  sweep = 1
end
if sweep == 1 then redis.call('SET', SWEEP, now + lease) end

-- Entries whose score has come, by score: what is earliest due is never behind what is not (H64).
local function due(set, state, act)
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', set, '-inf', now, 'LIMIT', 0, WORK_PER_CLAIM)) do
    local message = load(key)
    if not message or message[STATE] ~= state then
      redis.call('ZREM', set, key)
    elseif message[AT] > now then
      redis.call('ZADD', set, message[AT], key)
    else
      act(key, message)
    end
  end
end

due(DELAYS, 'd', make_ready)
-- Of each owner: how many messages are lost with it that it had begun and that had been lost once before, when the last
-- of them began, and how many began then.
local lost, company = {}, {}
due(LEASES, 'l', function(key, message)
  lost[#lost + 1] = {key, message}
  if message[BEGUN] > 0 and message[CRASHES] > 0 then
    local owner = owner_of(message[TOKEN])
    local mine = company[owner] or {count = 0, last = 0, young = 0}
    mine.count, mine.last = mine.count + 1, math.max(mine.last, message[BEGUN])
    company[owner] = mine
  end
end)

local function is_young(message, mine)
  return message[BEGUN] > mine.last - YOUNG_MS
end

for _, pair in ipairs(lost) do
  local message = pair[2]
  local mine = message[BEGUN] > 0 and message[CRASHES] > 0 and company[owner_of(message[TOKEN])]
  if mine and is_young(message, mine) then mine.young = mine.young + 1 end
end
for _, pair in ipairs(lost) do
  local key, message = pair[1], pair[2]
  message[RECOVER] = 1
  if message[BEGUN] > 0 then
    local mine = message[CRASHES] > 0 and company[owner_of(message[TOKEN])]
    local spared = mine and mine.count > COMPANY_MAX and (mine.young > COMPANY_MAX or not is_young(message, mine))
    local field = spared and message[FORGIVEN] < FORGIVEN_MAX and FORGIVEN or CRASHES
    message[field] = message[field] + 1
  end
  -- To the front: it has waited its turn already, and whoever waits for it has waited for the lease as well.
  make_ready_first(key, message)
end

local answer = {generation, sweep, -1, 0}
local taken, room, stale = 0, {[TICKS] = math.min(turns, limit), [STEPS] = math.min(steps, limit)}, 0

-- Leases the message of a ready entry; false if there is none, and the entry is gone (F13).
local function take(set, key, from, member)
  local message = load(key)
  local home, place
  if message and message[STATE] == 'r' then home, place = set_of('r', key, message) end
  if home ~= (from or set) or place ~= (member or key) then
    redis.call('ZREM', from or set, member or key)
    stale = stale + 1
    return false
  end
  local token = ARGV[6] .. taken
  if home == STEPS and message[AT] >= 0 then redis.call('SET', ROUND, message[AT]) end
  make_leased(key, message, lease, token, 0)
  taken, room[set] = taken + 1, room[set] - 1
  answer[#answer + 1] = {
    key, token, message[BODY], message[CRASHES], message[PROOFS], message[CONFLICTS], message[RECOVER],
  }
  return true
end

local function heads(set)
  local wanted = math.min(room[set], limit - taken)
  return wanted > 0 and redis.call('ZRANGE', set, 0, wanted - 1) or {}
end

-- One pass over the heads of both sets, one of each in turn; true if it met nothing stale.
local function pass()
  local clean, ticks, works, i, j = true, heads(TICKS), heads(STEPS), 1, 1
  while taken < limit and (ticks[i] or works[j]) do
    if ticks[i] and (i <= j or not works[j]) then
      clean = take(TICKS, ticks[i]) and clean
      i = i + 1
    else
      clean = take(STEPS, works[j]) and clean
      j = j + 1
    end
  end
  return clean
end

-- What others have refused, first, for it has waited its turn already. Entries with the same refusals are side by side,
-- so those of this caller's code are passed over at once, however many they are.
local function take_refused(codes, set, letter)
  local begin, beyond = '[' .. codes .. '|' .. letter .. ':', '(' .. codes .. '|' .. letter .. ';'
  repeat
    local clean, free = true, math.min(room[set], limit - taken)
    local found = free > 0 and redis.call('ZRANGEBYLEX', REFUSED, begin, beyond, 'LIMIT', 0, free) or {}
    for _, member in ipairs(found) do
      clean = take(set, string.sub(member, #codes + 2), REFUSED, member) and clean
    end
  until clean or stale >= WORK_PER_CLAIM
end

local function pass_refused()
  local from = '-'
  for _ = 1, WORK_PER_CLAIM do
    local head = redis.call('ZRANGEBYLEX', REFUSED, from, '+', 'LIMIT', 0, 1)[1]
    if not head or taken >= limit or stale >= WORK_PER_CLAIM then return end
    local codes = string.match(head, '^([^|]*)|')
    if not codes then
      redis.call('ZREM', REFUSED, head)
    elseif not string.find(',' .. codes .. ',', ',' .. ARGV[7] .. ',', 1, true) then
      take_refused(codes, STEPS, 's')
      take_refused(codes, TICKS, 't')
    end
    if codes then from = '(' .. codes .. '}' end
  end
end

if limit > 0 and redis.call('EXISTS', REFUSED) == 1 then pass_refused() end

while taken < limit and stale < WORK_PER_CLAIM do
  if pass() then break end
end
local refused = redis.call('EXISTS', REFUSED) == 1

-- A caller that still has room for a kind and left none ready knows when to come back: unheard rings are moot. A caller
-- that took its fill has another of the idle look for what is left or comes due. A caller without room for a kind says
-- nothing about it, or it would wake itself for ever. What somebody has refused may be what unheard rings are for.
local function hand_on(set, bell, also)
  local ready = redis.call('EXISTS', set) == 1
  if not ready and not refused and taken < limit and room[set] > 0 then
    redis.call('DEL', bell)
  elseif (ready or (also and taken == limit)) and redis.call('EXISTS', bell) == 0 then
    ring(bell)
  end
end

local delayed = redis.call('ZRANGE', DELAYS, 0, 0, 'WITHSCORES')
if limit > 0 then
  if turns > 0 then hand_on(TICKS, TICK_BELL, delayed[1]) end
  if steps > 0 then hand_on(STEPS, STEP_BELL, false) end
end

answer[4] = redis.call('EXISTS', STEPS)
-- Counts that were left by steps whose entries were lost.
if answer[4] == 0 then redis.call('DEL', WAITING) end

local leased = redis.call('ZRANGE', LEASES, 0, 0, 'WITHSCORES')
for _, head in ipairs({delayed[2] or false, leased[2] or false}) do
  if head then
    local rest = math.max(0, tonumber(head) - now)
    if answer[3] < 0 or rest < answer[3] then answer[3] = rest end
  end
end
return answer
