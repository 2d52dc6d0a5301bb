--- The machine that a benchmark runs on, without host names and paths.
local M = {}

-- The contents of a file, nil if it cannot be read. Files of /proc have no size, so core.read_file does not serve.
local function contents(path)
  local file <close> = io.open(path)
  return file and file:read "a"
end

local function line(path)
  local text = contents(path)
  return text and text:match "^[^\n]*"
end

local UNITS = { K = 1 << 10, M = 1 << 20, G = 1 << 30 }

-- The bytes in a size such as "2048K".
local function bytes(size)
  local number, unit = (size or ""):match "^(%d+)([KMG]?)$"
  return number and math.tointeger(number) * (UNITS[unit] or 1)
end

-- How many CPUs a list such as "0-3,8" names.
local function count_of(list)
  local count = 0
  for first, last in (list or ""):gmatch "(%d+)%-?(%d*)" do
    count = count + (last == "" and 1 or last - first + 1)
  end
  return count > 0 and count or nil
end

-- The caches that the first CPU uses: { level, kind, bytes, cpus }, `cpus` being how many CPUs share it.
local function caches(root)
  local list, i = {}, 0
  while true do
    local directory = string.format("%s/sys/devices/system/cpu/cpu0/cache/index%d/", root, i)
    local level = tonumber(line(directory .. "level"))
    if not level then return list end
    list[#list + 1] = { level = math.tointeger(level), kind = line(directory .. "type"),
                        bytes = bytes(line(directory .. "size")),
                        cpus = count_of(line(directory .. "shared_cpu_list")) }
    i = i + 1
  end
end

-- CPUs that run threads, and cores, which are fewer where a core runs several.
local function counts(cpuinfo)
  local cpus, cores, seen = 0, 0, {}
  for cpu in (cpuinfo .. "\n"):gmatch "(processor%s*:.-\n)\n" do
    local place = string.format("%s.%s", cpu:match "physical id%s*:%s*(%d+)" or 0,
                                cpu:match "core id%s*:%s*(%d+)" or cpus)
    cpus = cpus + 1
    if not seen[place] then cores, seen[place] = cores + 1, true end
  end
  return cpus, cores
end

--- Describe the machine from what Linux reports. What is unknown is left out.
---@param root? string the directory that has proc/ and sys/; "" by default
---@return table { cpu, cpus, cores, caches, memory }
function M.describe(root)
  root = root or ""
  local cpuinfo = contents(root .. "/proc/cpuinfo") or ""
  local cpus, cores = counts(cpuinfo)
  local memory = (contents(root .. "/proc/meminfo") or ""):match "MemTotal:%s*(%d+) kB"
  return {
    cpu = cpuinfo:match "model name%s*:%s*([^\n]*)",
    cpus = cpus > 0 and cpus or nil, cores = cores > 0 and cores or nil,
    caches = caches(root), memory = memory and math.tointeger(memory) * 1024,
  }
end

--- The most resident memory that this process ever had, in bytes; nil where that is unknown.
---@return integer?
function M.peak_resident()
  local peak = (contents "/proc/self/status" or ""):match "VmHWM:%s*(%d+) kB"
  return peak and math.tointeger(peak) * 1024
end

return M
