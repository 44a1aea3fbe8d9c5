-- Why: a test compares a lane's messages with the model's; the scripts' own language unpacks what it packed.
local all, rows = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  rows[#rows + 1] = {all[i], unpack(cmsgpack.unpack(all[i + 1]))}
end
return rows
