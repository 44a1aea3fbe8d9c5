-- Why: a lease may be prolonged only by the delivery that holds it, or a late renewal would steal it back (H63).
-- ARGV: now, lease, whether they begin now, then per delivery: key, token, generation, crashes, proofs, conflicts, recover, body.
-- Answers per delivery: 0 lost, 1 held, 2 held and withdrawn.
local lease = tonumber(ARGV[2])
local generation = redis.call('GET', GENERATION) or ''
local answer = {}
for i = 4, #ARGV, 8 do
  local key, token = ARGV[i], ARGV[i + 1]
  local message = load(key)
  local verdict = 0
  if message and message[STATE] == 'l' and message[TOKEN] == token then
    if ARGV[3] == '1' and message[BEGUN] == 0 then message[BEGUN] = now end
    enter(key, message, 'l', now + lease, 0)
    verdict = 1 + message[WITHDRAWN]
  elseif (not message or message[STATE] == 'r') and ARGV[i + 2] ~= generation then
    -- The server lost its data since the hand-over: a flush is no reason to cancel a running body (H104).
    local dirty = message and is_tick(key) and 1 or 0
    local waiting = message and message[RECOVER] or 0
    message = message or create(ARGV[i + 7], 0, 0)
    for offset, field in ipairs({CRASHES, PROOFS, CONFLICTS}) do
      message[field] = math.max(message[field], tonumber(ARGV[i + 2 + offset]))
    end
    message[RECOVER], message[BODY] = either(message[RECOVER], tonumber(ARGV[i + 6])), ARGV[i + 7]
    unmark(message)
    message[TOKEN], message[DIRTY], message[DIRTY_RECOVER], message[BEGUN] = token, dirty, dirty * waiting, now
    enter(key, message, 'l', now + lease, 0)
    verdict = 1
  end
  answer[#answer + 1] = verdict
end
return answer
