-- Why: the end of a message and the start of all that follows from it are one act, or a crash between them stalls a run.
-- ARGV: now, lease, key, token, recovered, conflicts, recover as delivered, token prefix,
-- then per follow-up: key, body, delay, recover, lease.
-- Answers outcome, generation, the fresh delivery (empty: none), one array (position, token, recover) per granted one,
-- whether steps wait.
local lease, key, token = tonumber(ARGV[2]), ARGV[3], ARGV[4]
local recovered, conflicts, delivered_recover = ARGV[5] == '1', tonumber(ARGV[6]), tonumber(ARGV[7])
local tokens = 0

local function new_token()
  tokens = tokens + 1
  return ARGV[8] .. tokens
end

local message = owned(key, token)
local outcome, placed = 'lost', false
local carried = recovered and 0 or delivered_recover
if message then
  carried = recovered and 0 or message[RECOVER]
  placed = message[DIRTY] == 1
  if not placed then
    outcome = 'settled'
    leave(key, message)
    redis.call('HDEL', MESSAGES, key)
  else
    offer_to_all(key, message)
    message[RECOVER] = either(carried, message[DIRTY_RECOVER])
    message[CRASHES], message[PROOFS], message[CONFLICTS] = 0, 0, conflicts
    message[FORGIVEN] = 0
    if message[ROUNDS] >= ROUNDS_MAX then
      outcome = 'requeued'
      make_ready(key, message)
    else
      outcome = 'again'
      make_leased(key, message, lease, new_token(), message[ROUNDS] + 1)
    end
  end
end

local granted = {}
for i = 9, #ARGV, 5 do
  local own = ARGV[i] == key
  local recover = tonumber(ARGV[i + 3])
  if own then recover = either(recover, carried) end
  if own and placed then
    -- F5: the next round places it. Its recover is not dropped with it.
    if recover == 1 and message[RECOVER] == 0 then
      message[RECOVER] = 1
      save(key, message)
    end
  elseif ARGV[i + 4] == '1' and message and redis.call('HEXISTS', MESSAGES, ARGV[i]) == 0 then
    -- F4: only what nobody else has; F8: only to an owner.
    local fresh = create(ARGV[i + 1], recover, own and conflicts or 0)
    make_leased(ARGV[i], fresh, lease, new_token(), 0)
    granted[#granted + 1] = {(i - 9) / 5, fresh[TOKEN], recover}
  else
    enqueue(ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), recover, own and conflicts or 0)
  end
end

local again = {}
if outcome == 'again' then again = {message[TOKEN], message[BODY], message[RECOVER]} end
return {outcome, redis.call('GET', GENERATION) or '', again, granted, redis.call('EXISTS', STEPS)}
