-- Prints wrk's result as one JSON line with full precision, so that nothing has to be guessed back from the rounded
-- text meant for people. Only setup() and done() are defined, which wrk calls before and after the load: a script
-- without request() or response() adds nothing to the hot path.

-- wrk takes all its times from gettimeofday(), which jumps when somebody sets the clock. How far that clock is ahead
-- of the monotonic one shows it: the difference stays the same, unless the clock was set.
local ffi = require "ffi"
ffi.cdef [[
   struct lab_time { long s; long fraction; };
   int gettimeofday(struct lab_time *now, void *zone);
   int clock_gettime(int clock, struct lab_time *now);
]]
local CLOCK_MONOTONIC, LOOKS = 1, 5

local function look_us()
   local real, before, after = ffi.new("struct lab_time"), ffi.new("struct lab_time"), ffi.new("struct lab_time")
   ffi.C.clock_gettime(CLOCK_MONOTONIC, before)
   ffi.C.gettimeofday(real, nil)
   ffi.C.clock_gettime(CLOCK_MONOTONIC, after)
   local function us(time, unit) return tonumber(time.s) * 1e6 + tonumber(time.fraction) / unit end
   return us(real, 1) - us(before, 1e3), us(after, 1e3) - us(before, 1e3)
end

-- The best of some looks: the one between whose two readings least time passed.
local function ahead_us()
   local found, least = look_us()
   for _ = 2, LOOKS do
      local ahead, took = look_us()
      if took < least then
         found, least = ahead, took
      end
   end
   return found
end

local ahead_at_start_us

function setup()
   ahead_at_start_us = ahead_us()
end

function done(summary, latency)
   local errors = summary.errors
   local line = '{"requests":%d,"bytes":%d,"duration_us":%d,"clock_set_us":%d,"p50_us":%d,"p90_us":%d,"p99_us":%d,'
      .. '"max_us":%d,"errors":{"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d}}\n'
   io.write(line:format(
      summary.requests, summary.bytes, summary.duration, ahead_us() - ahead_at_start_us,
      latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max,
      errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
