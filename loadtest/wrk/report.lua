-- Prints wrk's result as one JSON line with full precision, so that nothing has to be guessed back from the rounded
-- text meant for people. Only done() is defined: a script without request() or response() adds nothing to the hot path.
function done(summary, latency)
   local errors = summary.errors
   local line = '{"requests":%d,"bytes":%d,"duration_us":%d,"p50_us":%d,"p90_us":%d,"p99_us":%d,"max_us":%d,'
      .. '"errors":{"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d}}\n'
   io.write(line:format(
      summary.requests, summary.bytes, summary.duration,
      latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max,
      errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
