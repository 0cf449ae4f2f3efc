-- Sends several requests at once: `wrk -s pipeline.lua URL -- DEPTH`. The result is printed by report.lua beside it.
local folder = debug.getinfo(1, "S").source:match("^@(.*/)")
dofile(folder .. "report.lua")

local batch

function init(arguments)
   local requests = {}
   for i = 1, tonumber(arguments[1]) do
      requests[i] = wrk.format()
   end
   batch = table.concat(requests)
end

function request()
   return batch
end
