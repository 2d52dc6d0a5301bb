-- text:sample { law = 0.9, general = 0.1 } and the streams that training reads. The sequence in row r of step s
-- depends only on the seed, s and r. A run therefore resumes from its step number alone, and rows may be drawn in any
-- order and in chunks of any size.
local domain_sampler = require "bam.data.domain_sampler"
local check = require "bam.util.check"
local core = require "bam.core"
local domains = require "bam.data.domains"
local cache_entry = require "bam.data.cache_entry"
local permutation = require "bam.data.permutation"
local schedule = require "bam.util.schedule"
local shards = require "bam.data.shards"
local windows = require "bam.data.windows"

local M = {}

-- ---- the stream of one run ----

--- The training data of one run: every batch is a function of its step.
---@class bam.Stream
local Stream = {}
local stream_metatable = { __name = "bam.stream", __index = Stream, __methods = Stream }

function stream_metatable:__tostring()
  return string.format("stream of %d steps, %d rows of %d tokens of %s", self.steps, self.rows,
                       self.context, table.concat(self.names, ", "))
end

-- Offset, from 0 to 1, of a domain's first row within a step.
local function phase(self, step, d)
  return permutation.unit(permutation.mix(self.keys[d] + step))
end

-- The rows of a step, with the domain's number and the window's number in the domain's sequence. The rows of a domain
-- are evenly spaced, so that every contiguous range of rows holds about its share of each domain.
local function plan(self, step)
  if self.planned == step then return self.plan end
  local counts, before = self.apportionment:at(step)
  local rows = {}
  for d, count in ipairs(counts) do
    local start = phase(self, step, d)
    for j = 1, count do
      rows[#rows + 1] = { d = d, window = before[d] + j - 1, at = (j - start) / count }
    end
  end
  table.sort(rows, function(a, b)
    if a.at ~= b.at then return a.at < b.at end
    if a.d ~= b.d then return a.d < b.d end
    return a.window < b.window
  end)
  self.planned, self.plan = step, rows
  return rows
end

local function check_step(self, what, step)
  step = check.value(string.format("%s: step", what), step, "size")
  if step > self.steps then
    check.fail("%s: step %d is beyond the last step, %d", what, step, self.steps)
  end
  return step
end

--- Rows `first` to `first + count - 1` of a step.
---@param step integer from 1
---@param first? integer 1 by default
---@param count? integer all rows from `first` on by default
---@return table batch ids, targets, documents, positions: i64 [count, context]; tokens: number of targets;
--- domains: name of the domain by row
function Stream:batch(step, first, count)
  step = check_step(self, "batch", step)
  first = check.value("batch: first", first or 1, "size")
  count = check.value("batch: count", count or self.rows - first + 1, "size")
  if first + count - 1 > self.rows then
    check.fail("batch: rows %d to %d are out of range; a step has %d", first, first + count - 1, self.rows)
  end
  local planned, rows, names = plan(self, step), {}, {}
  for i = 1, count do
    local row = planned[first + i - 1]
    rows[i], names[i] = self.sequences[row.d]:row(row.window), self.names[row.d]
  end
  local batch = windows.pack(rows, self.context)
  batch.domains = names
  return batch
end

--- Read all training tokens again and report whether they changed since they were cached.
---@return string? fault
function Stream:fault()
  for _, record in ipairs(self.records) do
    local fault = shards.fault(self.directory, record, true)
    if fault then return string.format("%s/%s", self.directory, fault) end
  end
end

--- How many times the text of each domain has been read by the end of a step.
---@param step integer
---@return table<string, number> epochs by domain
function Stream:epochs(step)
  local counts, before = self.apportionment:at(check_step(self, "epochs", step))
  local epochs = {}
  for d, name in ipairs(self.names) do
    epochs[name] = (before[d] + counts[d]) / self.sequences[d].count
  end
  return epochs
end

--- The share of each domain in the rows of a step: its weight divided by the sum of all weights.
---@param step integer
---@return table<string, number> shares by domain
function Stream:shares(step)
  local weights, shares, sum = self.apportionment.weights(check_step(self, "shares", step)), {}, 0
  for _, weight in ipairs(weights) do sum = sum + weight end
  for d, name in ipairs(self.names) do shares[name] = weights[d] / sum end
  return shares
end

-- ---- the source: domains and their weights ----

--- A weighted mixture of domains that is not tied to a run yet. text:sample { ... } creates it; source:open opens it
--- for a run.
---@class bam.Source
local Source = {}
local metatable = { __name = "bam.source", __index = Source, __methods = Source }

function metatable:__tostring()
  local parts = {}
  for i, name in ipairs(self.names) do
    parts[i] = string.format("%s = %s", name, self.weights[i])
  end
  return string.format("sample { %s }", table.concat(parts, ", "))
end

local function check_weight(name, value)
  local what = string.format("sample: weight of %s", name)
  if type(value) == "number" then return check.value(what, value, "rate") end
  if not schedule.is(value) and type(value) ~= "function" then
    check.fail("%s: expected a number or a schedule, got %s", what, check.describe(value))
  end
  return schedule.of(value)
end

--- See text:sample.
---@param text table
---@param weights table<string, number|function|schedule>
---@return table source
function M.new(text, weights)
  if type(weights) ~= "table" or getmetatable(weights) or next(weights) == nil then
    check.fail("sample: expected weights by domain, such as { %s = 1 }, got %s", text.domains[1],
               check.describe(weights))
  end
  local known = {}
  for _, name in ipairs(text.domains) do known[name] = true end
  for name in pairs(weights) do
    if name == 1 then check.fail("sample: a domain has a weight: text:sample { %s = 1 }", tostring(weights[1])) end
    if not known[name] then domains.fail_unknown("sample", name, text.domains) end
    if text.settings.whole and text.settings.whole[name] then
      check.fail("sample: domain %s is held out whole; give it `files` to train on", name)
    end
  end
  local self = { text = text, names = check.sorted_names(weights), weights = {} }
  local sum = 0
  for i, name in ipairs(self.names) do
    self.weights[i] = check_weight(name, weights[name])
    sum = sum + (type(weights[name]) == "number" and weights[name] or 1)
  end
  if sum == 0 then check.fail "sample: every weight is 0; at least one must be positive" end
  return setmetatable(self, metatable)
end

-- The weights of a step, checked. `self` has names and weights.
local function weights_at(self, step, steps)
  local values, sum = {}, 0
  for i, weight in ipairs(self.weights) do
    local value = type(weight) == "number" and weight or weight:at(step, steps)
    if not (value >= 0 and value < math.huge) then
      check.fail("sample: weight of %s: %s is %g at step %d of %d; it must be at least 0",
                 self.names[i], weight, value, step, steps)
    end
    values[i], sum = value, sum + value
  end
  if sum <= 0 then check.fail("sample: every weight is 0 at step %d of %d", step, steps) end
  return values
end

-- Check the weights at every step. Returns the values of the scheduled ones at every step.
local function check_weights(self, steps)
  local scheduled = {}
  for i, weight in ipairs(self.weights) do
    if type(weight) ~= "number" then scheduled[i] = {} end
  end
  if next(scheduled) == nil then return scheduled end
  for step = 1, steps do
    local values = weights_at(self, step, steps)
    for i, list in pairs(scheduled) do list[step] = values[i] end
  end
  return scheduled
end

--- A fingerprint of the training data of a run of `steps` steps, as plain values. It covers the tokenizer and the
--- domains that are sampled.
---@param steps integer
---@return { tokenizer: string, domains: table<string, string>, weights: table<string, number|string> } identity
--- scheduled weights count by their values at every step
function Source:identity(steps)
  local scheduled = check_weights(self, check.value("identity: steps", steps, "size"))
  local corpus, hashes, weights = self.text:prepare(), {}, {}
  for i, name in ipairs(self.names) do
    weights[name] = scheduled[i] and schedule.hash(scheduled[i]) or self.weights[i]
    hashes[name] = cache_entry.domain_hash(corpus.domains[name])
  end
  return { tokenizer = corpus.tokenizer_digest, domains = hashes, weights = weights }
end

-- A function that returns the weights of a step. It raises if a schedule returns another value than at first, because
-- the phase's fingerprint holds the first values.
local function weights_of_run(self, steps)
  local own = { names = self.names, weights = table.move(self.weights, 1, #self.names, 1, {}) }
  local first = check_weights(own, steps)
  return function(step)
    local values = weights_at(own, step, steps)
    for i, list in pairs(first) do
      if values[i] ~= list[step] then
        check.fail("sample: weight of %s: %s gave %g for step %d when the run began, and %g now; a "
                   .. "schedule must depend on the progress alone", own.names[i], own.weights[i],
                   list[step], step, values[i])
      end
    end
    return values
  end
end

local open_spec = {
  context = { "extent" }, batch = { "extent" }, steps = { "size" }, seed = { "integer", 1 },
}

--- Open the data for a run.
---@class bam.StreamOptions
---@field context integer tokens per row
---@field batch integer rows per step
---@field steps integer steps of the run, for schedules
---@field seed? integer 1 by default
---@param options bam.StreamOptions
---@return bam.Stream
function Source:open(options)
  local o = check.options("sample: open", options, open_spec)
  local weights = weights_of_run(self, o.steps)
  local corpus = self.text:prepare()
  local sequences, keys, records = {}, {}, {}
  for d, name in ipairs(self.names) do
    records[d] = corpus.domains[name].train
    sequences[d] = windows.sequence(corpus.domains[name].shards.train, o.context, name, o.seed)
    keys[d] = core.hash64(string.format("%d/%s", o.seed, name))
    if sequences[d].count == 0 and self.weights[d] ~= 0 then
      check.fail("sample: domain %s has %d tokens to train on, fewer than one row of %d needs; add "
                 .. "text or lower context", name, corpus.domains[name].train.tokens, o.context)
    end
  end
  return setmetatable({
    names = self.names, sequences = sequences, keys = keys, context = o.context, rows = o.batch,
    steps = o.steps, directory = corpus.directory, records = records,
    apportionment = domain_sampler.new(weights, #self.names, o.batch),
  }, stream_metatable)
end

return M
