-- What `benchmarks/wrk.py` asks again and again: one body, from a file.
local file = assert(io.open(os.getenv("WRK_BODY"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
for name, value in string.gmatch(os.getenv("WRK_HEADERS"), "([^\n:]+): ([^\n]+)") do
  wrk.headers[name] = value
end

local pause_ms = tonumber(os.getenv("WRK_PAUSE_MS"))
if pause_ms > 0 then
  function delay() return pause_ms end
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.timeout + errors.status
  local told = '\n{"requests": %d, "seconds": %f, "failed": %d, "p50_ms": %f, "p99_ms": %f}\n'
  io.write(told:format(summary.requests, summary.duration / 1e6, failed,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
