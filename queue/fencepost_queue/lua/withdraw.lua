-- Why: work that is not wanted any more should not start, and who has begun it should hear of it.
-- ARGV: now, keys.
for i = 2, #ARGV do
  local message = load(ARGV[i])
  if message and message[STATE] == 'l' then
    message[WITHDRAWN] = 1
    save(ARGV[i], message)
  elseif message then
    leave(ARGV[i], message)
    redis.call('HDEL', MESSAGES, ARGV[i])
  end
end
return 1
