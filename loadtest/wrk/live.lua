-- Tells where wrk keeps its counters, so that the laboratory can read them while the load goes on: wrk itself prints
-- nothing before the end. Nothing is added to what wrk does for a request. As wrk's own records have no names that a
-- script may use, they are found by what must stand in them, and done() holds what is read there against wrk's result.
local folder = debug.getinfo(1, "S").source:match("^@(.*/)")
dofile(folder .. "report.lua")

local report_setup, report_done = setup, done
local ffi = require "ffi"
-- wrk 4.1.0: the head of a thread's record, and of a histogram with a counter for each microsecond.
ffi.cdef [[
   struct lab_thread {
      uint64_t thread; void *loop, *addr; uint64_t connections, complete, requests, bytes, start; void *lua;
      uint32_t connect, read, write, status, timeout;
   };
   struct lab_histogram { uint64_t count, limit, min, max; };
]]
local PAGE_BYTES, LARGE_BYTES = 4096, 1024 * 1024
local RATES = 10000001 -- the limit of wrk's other histogram, that of requests per second
local threads, histogram = {}, nil

local function pointed_at(type, userdata)
   return ffi.cast(type .. " **", userdata)[0]
end

local function address(pointer)
   return tonumber(ffi.cast("uintptr_t", pointer))
end

local function at(type, start)
   return ffi.cast(type .. " *", ffi.cast("uintptr_t", start))
end

-- A large piece of memory is a mapping of its own: the C library's word, then wrk's, with the size, then the record.
local function histogram_at(start)
   local limit = tonumber(at("struct lab_histogram", start + 24).limit)
   local bytes = ffi.sizeof("struct lab_histogram") + 8 * limit
   if tonumber(at("uint64_t", start)[2]) == bytes and bytes >= LARGE_BYTES and limit ~= RATES then
      return at("struct lab_histogram", start + 24)
   end
end

-- How far it is to the next piece: over the whole of a large one, so that the pages within stay untouched. The C library
-- begins it with a zero and its size, whole pages, marked with a 2.
local function step(start, to)
   local words = at("uint64_t", start)
   local size = tonumber(words[1]) - 2
   local is_piece = words[0] == 0 and size % PAGE_BYTES == 0 and size >= LARGE_BYTES and start + size <= to
   return is_piece and size or PAGE_BYTES
end

local function find_histogram()
   for line in io.lines("/proc/self/maps") do
      local from, to, name = line:match("^(%x+)%-(%x+) rw%-p %x+ %S+ %d+%s*(.*)$")
      if name == "" then
         local start, stop = tonumber(from, 16), tonumber(to, 16)
         while start + LARGE_BYTES <= stop do
            local found = histogram_at(start)
            if found then
               return found
            end
            start = start + step(start, stop)
         end
      end
   end
end

function setup(thread)
   report_setup(thread)
   local record = pointed_at("struct lab_thread", thread)
   threads[#threads + 1] = record
   histogram = histogram or find_histogram()
   io.write(('{"counters":%.0f,"connections":%.0f,"histogram":%.0f}\n'):format(
      address(record), tonumber(record.connections), histogram and address(histogram) or 0))
   io.flush()
end

local function are_right(summary, latency)
   local sums = { requests = 0, connect = 0, read = 0, write = 0, status = 0, timeout = 0 }
   for _, record in ipairs(threads) do
      sums.requests = sums.requests + tonumber(record.complete)
      for _, kind in ipairs { "connect", "read", "write", "status", "timeout" } do
         sums[kind] = sums[kind] + record[kind]
      end
   end
   local right = sums.requests == summary.requests and pointed_at("struct lab_histogram", latency) == histogram
   for kind, count in pairs(summary.errors) do
      right = right and sums[kind] == count
   end
   return right
end

function done(summary, latency)
   io.write(('{"counters_right":%s}\n'):format(are_right(summary, latency)))
   report_done(summary, latency)
end
