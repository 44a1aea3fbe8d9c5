-- Why: an audit asks what messages there are, also those that have lost their place in the order, without touching one.
-- ARGV: now, cursor, count, keys. With keys: these messages. Without: the hash in slices; the answer begins with the
-- next cursor (0: done). One array per message; due is negative once it has passed, since is -1 unless it is ready.
local found, cursor = {}, '0'
if #ARGV > 3 then
  for i = 4, #ARGV do
    local message = load(ARGV[i])
    if message then found[#found + 1] = {ARGV[i], message} end
  end
else
  local scan = redis.call('HSCAN', MESSAGES, ARGV[2], 'COUNT', tonumber(ARGV[3]))
  cursor = scan[1]
  for i = 1, #scan[2], 2 do found[#found + 1] = {scan[2][i], unpacked(scan[2][i + 1])} end
end

local answer = {cursor}
for _, pair in ipairs(found) do
  local key, message = pair[1], pair[2]
  local state = message[STATE]
  local set, member = set_of(state, key, message)
  answer[#answer + 1] = {
    key, state, owner_of(message[TOKEN]), message[CRASHES], message[PROOFS], message[CONFLICTS],
    either(message[RECOVER], message[DIRTY_RECOVER]), message[DIRTY],
    state == 'r' and 0 or message[AT] - now, state == 'r' and now - message[SINCE] or -1,
    redis.call('ZSCORE', set, member) and 1 or 0,
  }
end
return answer
