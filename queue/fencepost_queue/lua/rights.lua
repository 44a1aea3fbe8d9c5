-- Why: an operator wants to know which command a script of ours would be refused before a worker meets it. Each that
-- the scripts call is tried on a key of the namespace that holds a text: what is allowed there says WRONGTYPE or does
-- nothing, and nothing is left behind. Answers name and words of what was refused. Stands alone, without the prelude.
local key = KEYS[1]
local refused = {}

local function try(name, ...)
  local reply = redis.pcall(name, ...)
  local said = type(reply) == 'table' and reply.err
  if said and not said:find('WRONGTYPE') and not said:find('not an integer') then
    refused[#refused + 1] = name:lower()
    refused[#refused + 1] = said
  end
  return not said
end

-- First of those that write: a server whose memory is full lets a script go on that has written. A second is for those
-- that may set and not delete.
local there = try('SET', key, 'x', 'PX', 1000)
for _, name in ipairs({'EXISTS', 'GET', 'MGET', 'SMEMBERS', 'ZCARD', 'LPOP'}) do
  try(name, key)
end
for _, name in ipairs({'HGET', 'HDEL', 'HEXISTS', 'ZREM', 'ZSCORE'}) do
  try(name, key, 'x')
end
for _, name in ipairs({'ZRANGE', 'ZRANGEBYSCORE', 'ZCOUNT'}) do
  try(name, key, 0, 0)
end
try('ZRANGEBYLEX', key, '-', '+')
try('HSCAN', key, 0)
try('ZSCAN', key, 0)
try('TIME')
try('INFO', 'server')
if there then -- these would make the key
  try('INCR', key)
  for _, name in ipairs({'SETNX', 'SADD', 'RPUSH'}) do
    try(name, key, 'x')
  end
  try('HSET', key, 'x', 'x')
  try('HINCRBY', key, 'x', 1)
  try('ZADD', key, 0, 'x')
end
try('DEL', key)
return refused
