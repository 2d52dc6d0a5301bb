-- Damage: bits that flip and lengths that change in any file of a finished run and of its cache. bam.audit
-- must find each; and the same command, which is run for each bit and for every 8th length, must end with
-- the weights and figures of a sound run, or with an error that names what is damaged: never with others.
-- Usage: bamlua tests/faults/damage.lua PROGRAM [--every N] [--first N] [--state FILE] [--flips N]
--   --flips N  how many bits, at random places, 10000 unless told; each file gets its share
package.path = string.format("tests/faults/?.lua;%s", package.path)
local bam = require "bam"
local bench = require "bench"
local core = require "bam.core"

local options = bench.options(2)
local SMALL = 4096    -- of files up to it every length is tried
local BOUNDARY = 4096 -- of larger ones those beside every page's end,
local LENGTHS = 100   -- and so many random ones
local RUNS = 8        -- the command is run for every so manieth length

local scratch <close> = bench.begin(arg[1])
local tally = bench.tally(options)
io.stdout:setvbuf "line"

local place = scratch.path .. "/run"
local function at(path) return string.format("%s/%s", place, path) end

-- Lines of locks and the memory of hashes are no records: an audit does not read them.
local function is_record(path)
  return not (path:find "/lock$" or path:find "%.lock$" or path:find "/hashes%.json$")
end

local function audit()
  return (bam.audit(at "runs", { quiet = true, cache = at "cache" }))
end

-- What is wrong with how the run takes the damage; nil when it is repaired, or named.
local function check_run(path)
  local problem, output = bench.check_end(place, true)
  if not problem then return nil end
  local owner = path:match "^(.*)/[^/]*$"
  local is_named = problem:find "^the undisturbed run ends with 1:" and output:find(owner, 1, true)
  return not is_named and problem or nil
end

-- Damage a file of the copy, look, and put the sound run back.
local function try(name, path, contents, runs)
  tally:try(name, function()
    local sound = core.read_file(at(path))
    core.write_file(at(path), contents)
    if is_record(path) and audit() then return "the audit does not find it" end
    if not runs then core.write_file(at(path), sound) return nil end
    local problem = check_run(path)
    bench.copy(scratch.reference, place)
    return problem
  end)
end

-- ---- lengths ----

local function lengths_of(size)
  local lengths = {}
  local function add(length)
    if length >= 0 and length < size then lengths[length] = true end
  end
  if size <= SMALL then
    for length = 0, size - 1 do add(length) end
    return lengths
  end
  for page = 0, size, BOUNDARY do
    for length = page - 1, page + 1 do add(length) end
  end
  for _ = 1, LENGTHS do add(bam.randint(0, size - 1, 1):item()) end
  add(size - 1)
  return lengths
end

local function try_lengths(path, contents)
  local lengths, list = lengths_of(#contents), {}
  for length in pairs(lengths) do list[#list + 1] = length end
  table.sort(list)
  for i, length in ipairs(list) do
    try(string.format("length %s %d", path, length), path, contents:sub(1, length), i % RUNS == 0)
  end
  try(string.format("length %s %d", path, #contents + 1), path, contents .. "\0", true)
end

-- ---- bits ----

local function flip(contents, at_byte, bit)
  return table.concat { contents:sub(1, at_byte - 1), string.char(contents:byte(at_byte) ~ 1 << bit),
                        contents:sub(at_byte + 1) }
end

local function try_bits(path, contents, count)
  for _ = 1, #contents > 0 and count or 0 do
    local byte, bit = bam.randint(1, #contents, 1):item(), bam.randint(0, 7, 1):item()
    try(string.format("flip %s %d.%d", path, byte, bit), path, flip(contents, byte, bit), true)
  end
end

-- ---- every file ----

bench.copy(scratch.reference, place)
assert(audit(), "a sound run does not pass the audit")
local files = bench.files(place)
assert(#files > 30, "there are too few files to be true")
bam.seed(1)
for _, path in ipairs(files) do
  local contents, before = core.read_file(at(path)), tally.passed + tally.failed
  try_bits(path, contents, (options.flips or 10000) // #files + 1)
  try_lengths(path, contents)
  print(string.format("%-70s %6d bytes, %5d times damaged", path, #contents,
                      tally.passed + tally.failed - before))
end
assert(bench.finish(tally), "some failed")
