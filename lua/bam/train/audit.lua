--- bam.audit: verify that every file of a run is as it was written, and that the files belong together.
local check = require "bam.util.check"
local core = require "bam.core"
local cache_entry = require "bam.data.cache_entry"
local json = require "bam.util.json"
local manifest = require "bam.train.manifest"
local metrics = require "bam.train.metrics"
local paths = require "bam.data.paths"
local sealed = require "bam.util.sealed"
local settings = require "bam.train.settings"
local checkpoints = require "bam.train.checkpoints"

local M = {}

local function within(directory, name) return string.format("%s/%s", directory, name) end

-- ---- finding phases ----

local function holds_phase(names)
  for _, name in ipairs(names) do
    if name == "phase.json" or name:find "^step%-%d+$" then return true end
  end
end

-- Is the directory named like a phase, "seed-01234567", and not like a recipe's link to one?
local function has_own_name(directory) return directory:find "%-%x%x%x%x%x%x%x%x/*$" ~= nil end

-- Add the directories of phases at or below `directory`, keyed by inode because several links may lead to the same one.
-- `seen` holds the inodes of all other directories, which ends cycles of links.
local function find_phases(directory, found, seen)
  local names, inode = core.list_directory(directory), core.file_info(directory).inode
  if holds_phase(names) then
    if not found[inode] or has_own_name(directory) then found[inode] = directory end
  elseif not seen[inode] then
    seen[inode] = true
    for _, name in ipairs(names) do
      local path = within(directory, name)
      if core.is_directory(path) then find_phases(path, found, seen) end
    end
  end
  return found
end

-- ---- one phase ----

-- Compare the digits in the directory's name with the phase's digest.
local function check_name(audit, directory, written)
  local name = directory:match "([^/]+)/*$"
  local digits = name:match "%-(%x%x%x%x%x%x%x%x)$"
  if digits and digits ~= written.digest:sub(1, 8) then
    audit.problem("%s: its phase.json belongs to phase %s-%s", directory, written.name,
                  written.digest:sub(1, 8))
  end
end

local function check_checkpoint(audit, directory, owner, step)
  local facts = owner and { phase = owner.phase, digest = owner.digest, step = step }
  local found, reason = checkpoints.inspect(directory, facts)
  audit.checkpoints = audit.checkpoints + 1
  if found then audit.checksums[found.checksum], audit.checksums[manifest.tensors(found)] = directory, directory end
  if not found then
    audit.problem("%s", reason)
  elseif not found.version then
    audit.note("%s was written by bamlua 0.1.0, which did not record the phase", directory)
  elseif found.version ~= core.release then
    audit.note("%s was written by bamlua %s", directory, found.version)
  end
  return found
end

-- Check all checkpoints of a phase. Returns the manifest of the newest one, with its directory.
local function check_checkpoints(audit, directory, owner)
  local newest
  for _, step in ipairs(checkpoints.steps(directory)) do
    local found = check_checkpoint(audit, checkpoints.directory_of(directory, step), owner, step)
    if found and not newest then
      newest = found
      newest.directory = checkpoints.directory_of(directory, step)
    end
  end
  local best = within(directory, "best")
  if core.is_directory(best) then check_checkpoint(audit, best, owner) end
  return newest
end

local function check_evaluations(audit, directory, newest)
  for _, name in ipairs(core.list_directory(directory)) do
    if name:find "^evaluation%-%x+%.json$" then
      local path = within(directory, name)
      local value, fault = json.read(path)
      audit.evaluations = audit.evaluations + 1
      if not value then
        audit.problem("%s", fault)
      elseif type(value) == "table" and value.digest == nil and value.domains then
        audit.note("%s is of bamlua 0.1.0, without a digest", path)
      elseif type(value) ~= "table" or type(value.result) ~= "table"
        or value.digest ~= core.hash(json.encode(value.result)) then
        audit.problem("%s was changed: its digest does not match its figures", path)
      elseif newest and value.weights ~= newest.checksum then
        audit.problem("%s belongs to other weights than the last checkpoint", path)
      end
    end
  end
end

-- Check the log up to the newest checkpoint, which holds the log's digest.
local function check_sealed(audit, path, newest)
  local state = newest and json.read(within(newest.directory, "training.json"))
  local log = type(state) == "table" and state.metrics
  if type(log) ~= "table" then return end -- written by version 0.1.0
  local file = assert(io.open(path, "rb"))
  local text = file:read(log.bytes) or ""
  file:close()
  if core.hash(text) ~= log.digest then
    audit.problem("%s was changed: its digest does not match the last checkpoint", path)
  end
end

-- The first step of a phase: 1, unless it continues a run.
local function first_step(written)
  local continued = written and written.settings.continue
  return type(continued) == "table" and math.tointeger(continued.from) and continued.from + 1 or 1
end

-- The log must have one line per step, from the first one at least to the newest checkpoint.
local function check_metrics(audit, directory, written, newest)
  local path, expected = within(directory, "metrics.jsonl"), first_step(written)
  if not core.file_info(path) then
    if newest and newest.step then audit.problem("%s is missing", path) end
    return
  end
  local fault
  metrics.each_line(path, function(line)
    local fine, record = core.try(json.decode, line)
    if not fine or type(record) ~= "table" then
      fault = string.format("%s is damaged after step %d", path, expected - 1)
    elseif not record.eval and record.step ~= expected then
      fault = string.format("%s: after step %d comes step %s", path, expected - 1,
                            check.describe(record.step))
    elseif not record.eval then
      expected = expected + 1
    end
    return fault ~= nil
  end)
  if fault then return audit.problem("%s", fault) end
  check_sealed(audit, path, newest)
  if newest and newest.step and newest.step >= expected then
    audit.problem("%s ends at step %d, but the last checkpoint is at step %d", path, expected - 1,
                  newest.step)
  end
end

local function check_phase(audit, directory)
  local before, written = #audit.problems, settings.phase(directory)
  if not written then
    audit.problem("%s is missing or was changed", within(directory, "phase.json"))
  else
    check_name(audit, directory, written)
  end
  local owner = written and { phase = written.name, digest = written.digest }
  local newest = check_checkpoints(audit, directory, owner)
  check_evaluations(audit, directory, newest)
  check_metrics(audit, directory, written, newest)
  if written then
    audit.phases[written.digest] = { directory = directory, written = written, newest = newest }
  end
  audit.say("%s: %s", directory, #audit.problems == before and "sound" or "NOT sound")
end

-- ---- between phases ----

-- The digests of the phases that a phase started from.
local function parents_of(written)
  local s, list = written.settings, {}
  list[1] = s.parent
  for _, expert in ipairs(type(s.model) == "table" and s.model.experts or {}) do
    if expert.phase then list[#list + 1] = expert.phase end
  end
  return list
end

-- A phase that started from a directory: its weights are in the fingerprint, and the manifest has the checkpoint that
-- they were of.
local function check_start(audit, phase, known)
  for name, checksum in pairs(known) do
    if not audit.checksums[checksum] then
      audit.note("%s started from a checkpoint of phase %s, which is not in this directory", phase.directory, name)
    end
  end
  if not next(known) then audit.note("%s started from a model that belongs to no phase", phase.directory) end
end

local function check_chain(audit, phase)
  local known = phase.newest and phase.newest.parents
  if type(known) ~= "table" then return end
  if phase.written.settings.start then return check_start(audit, phase, known) end
  for _, digest in ipairs(parents_of(phase.written)) do
    local parent = audit.phases[digest]
    if not parent then
      audit.note("%s started from phase %s, which is not in this directory", phase.directory, digest:sub(1, 8))
    elseif parent.newest and not manifest.is_of(known[parent.written.name], parent.newest) then
      audit.problem("%s started from other weights of phase %s than those in %s", phase.directory,
                    parent.written.name, parent.directory)
    end
  end
end

-- ---- results and cache ----

-- Escape a path for use as a glob pattern.
local function pattern(path) return (path:gsub("[%[%]*?\\]", "\\%0")) end

local function check_result(audit, path)
  local value, fault = json.read(path)
  if type(value) ~= "table" then
    return audit.problem("%s", fault or string.format("%s is not an object", path))
  end
  local state = sealed.check(value, "digest", { models = true, base = true })
  if state == "unsealed" then
    audit.note("%s is of bamlua 0.1.0, without a digest", path)
  elseif state == "changed" then
    audit.problem("%s was changed: its digest does not match its figures", path)
  end
end

-- Check the results in recipes' directories, which hold links to phases.
local function check_results(audit, directory)
  for _, name in ipairs(core.list_directory(directory)) do
    local path = within(directory, name)
    if name:find "^results[^/]*%.json$" then
      check_result(audit, path)
    elseif core.is_directory(path) and core.glob(within(pattern(path), "results*.json"))[1] then
      check_results(audit, path)
    end
  end
end

local function check_cache(audit, cache)
  local texts = string.format("%s/text", paths.cache(cache))
  for _, name in ipairs(core.is_directory(texts) and core.list_directory(texts) or {}) do
    local directory = within(texts, name)
    if name:find "^%x+$" and core.is_directory(directory) then
      local fault = cache_entry.verify(directory)
      audit.texts = audit.texts + 1
      if fault then audit.problem("%s: %s", directory, fault) end
    end
  end
end

local spec = { cache = { "any", optional = true }, quiet = { "boolean", false } }

local function new_audit(quiet)
  local audit = { problems = {}, notes = {}, phases = {}, checkpoints = 0, evaluations = 0,
                  texts = 0, checksums = {} }
  function audit.say(format, ...) if not quiet then print(string.format(format, ...)) end end
  function audit.problem(format, ...)
    table.insert(audit.problems, string.format(format, ...))
    audit.say("  problem: %s", audit.problems[#audit.problems])
  end
  function audit.note(format, ...)
    table.insert(audit.notes, string.format(format, ...))
    audit.say("  note: %s", audit.notes[#audit.notes])
  end
  return audit
end

--- Verify a run: the digest of every file of every checkpoint and the phase it belongs to, the settings of phases,
--- evaluations and the weights they belong to, results, the log, and that each phase started from the final weights of
--- its parents. Changes nothing. Prints a line per phase, and each problem.
---@param directory string all runs, a recipe's directory, or one phase
---@param options? { cache?: string|true, quiet?: boolean } cache: also check the prepared text in this directory,
--- or in the usual one
---@return boolean sound
---@return table report lists `problems` and `notes`, and numbers of checkpoints, evaluations and texts
function M.audit(directory, options)
  check.value("audit: directory", directory, "string")
  local o = check.options("audit", options, spec)
  if not core.is_directory(directory) then
    check.fail("audit: %s is not a directory; give the directory of runs or of a phase", directory)
  end
  local audit, found = new_audit(o.quiet), {}
  for _, path in pairs(find_phases(directory, {}, {})) do found[#found + 1] = path end
  table.sort(found)
  if #found == 0 then check.fail("audit: there is no phase in %s", directory) end
  for _, phase in ipairs(found) do check_phase(audit, phase) end
  for _, digest in ipairs(check.sorted_names(audit.phases)) do
    check_chain(audit, audit.phases[digest])
  end
  check_results(audit, directory)
  if o.cache == true then
    check_cache(audit)
  elseif o.cache ~= nil then
    check_cache(audit, check.value("audit: option cache", o.cache, "string"))
  end
  audit.say("%d phases, %d checkpoints, %d evaluations: %d problems", #found, audit.checkpoints,
            audit.evaluations, #audit.problems)
  return #audit.problems == 0, audit
end

return M
