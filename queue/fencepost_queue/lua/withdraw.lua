-- Why: work that is not wanted any more should not start, and who has begun it should hear of it.
-- ARGV: now, keys. Answers the tokens under which somebody has begun it.
local begun = {}
for i = 2, #ARGV do
  local message = load(ARGV[i])
  if message and message[STATE] == 'l' then
    message[WITHDRAWN] = 1
    save(ARGV[i], message)
    begun[#begun + 1] = message[TOKEN]
  elseif message then
    leave(ARGV[i], message)
    redis.call('HDEL', MESSAGES, ARGV[i])
  end
end
return begun
