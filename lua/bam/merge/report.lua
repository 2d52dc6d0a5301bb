--- The merge report: how far each expert has drifted from the seed, by layer and module, and what
--- the mixture's loss is before it has been trained. d:report { data = { law = batch, ... } }.
local check = require "bam.util.check"
local core = require "bam.core"
local description = require "bam.model.description"
local batch_options = require("bam.model.batch").spec
local params = require "bam.model.params"
local source = require "bam.merge.source"

local ops = core.ops

-- ---- drift ----

-- The group an entry is reported in: "layer 3 attention", or what stands alone.
local function group_of(entry)
  if entry.layer then return string.format("layer %d %s", entry.layer, entry.kind) end
  return entry.kind == "norm" and "final norm" or entry.kind
end

local function dot(a, b)
  return core.scope(function() return ops.sum(ops.mul(a, b)):item() end)
end

-- Sums over an entry of both: |seed|², |expert|², seed·expert, |expert - seed|².
local function add_sums(sums, seed, expert, entry)
  core.scope(function()
    local a, b = ops.to(seed.read(entry), "f64", "cpu"), ops.to(expert.read(entry), "f64", "cpu")
    local c = ops.sub(b, a)
    for i, value in ipairs { dot(a, a), dot(b, b), dot(a, b), dot(c, c) } do
      sums[i] = (sums[i] or 0) + value
    end
  end)
end

-- One expert against the seed, group by group in the order of the layers.
local function drift_of(seed, expert)
  local order, sums = {}, {}
  for _, entry in ipairs(params.list(seed.description)) do
    local group = group_of(entry)
    if not sums[group] then order[#order + 1], sums[group] = group, {} end
    add_sums(sums[group], seed, expert, entry)
  end
  local rows = {}
  for i, group in ipairs(order) do
    local s = sums[group]
    rows[i] = { module = group, relative_norm = math.sqrt(s[4] / s[1]),
                cosine = s[3] / math.sqrt(s[1] * s[2]) }
  end
  return rows
end

-- ---- losses at step 0 ----

local data_spec = { ids = { "tensor" }, targets = { "tensor" },
                    documents = batch_options.documents, positions = batch_options.positions }

-- A batch of a data set, checked: ids [B, T + 1], or { ids, targets, documents, positions } by
-- name.
local function read_batch(name, given)
  check.value("report: name of a data set", name, "string")
  local what = string.format("report: %s", name)
  if not check.is_tensor(given) then return check.options(what, given, data_spec) end
  if given.ndim ~= 2 or given:size(2) < 2 then
    check.fail("%s: expected token ids [batch, time + 1], got %s", what, check.describe(given))
  end
  local time = given:size(2) - 1
  return { ids = ops.narrow(given, 2, 1, time), targets = ops.narrow(given, 2, 2, time) }
end

local function losses_of(d, batches)
  local losses = {}
  if not next(batches) then return losses end
  local model = d:build():eval()
  for name, b in pairs(batches) do
    local options = { documents = b.documents, positions = b.positions }
    losses[name] = core.scope(function()
      local _, parts = core.with_grad(false, model.loss, model, b.ids, b.targets, options)
      return parts.loss:item()
    end)
  end
  return losses
end

-- ---- the report ----

local metatable = { __name = "merge report" }

function metatable:__tostring()
  local lines = { string.format("%-24s", "drift from the seed") }
  for _, expert in ipairs(self.experts) do
    lines[1] = string.format("%s  %20s", lines[1], expert.label:sub(-20))
  end
  for i, row in ipairs(self.experts[1].drift) do
    local cells = { string.format("%-24s", row.module) }
    for _, expert in ipairs(self.experts) do
      local d = expert.drift[i]
      cells[#cells + 1] = string.format("%10.4f  cos %.4f", d.relative_norm, d.cosine)
    end
    lines[#lines + 1] = table.concat(cells, "  ")
  end
  for _, name in ipairs(check.sorted_names(self.losses)) do
    lines[#lines + 1] = string.format("loss at step 0, %-9s %.4f", name, self.losses[name])
  end
  return table.concat(lines, "\n")
end

local spec = { data = { "table", optional = true } }

---@class bam.Description
local Description = description.methods

--- How far the experts of a mixture have drifted from the seed (the first expert), and the loss of the mixture
--- before training. The report prints as a table; `experts` is a list of { label, drift = { { module,
--- relative_norm, cosine }, ... } } without the seed, `losses` has nats per token by data set.
---@param options? { data?: table<string, table> } by data set: ids [B, T + 1], or { ids, targets }
---@return table report
function Description:report(options)
  description.check_self("report", self)
  local o, batches = check.options("report", options, spec), {}
  for name, given in pairs(o.data or {}) do batches[name] = read_batch(name, given) end
  if self.extends then
    check.fail("report: this extends a mixture, whose experts have no common seed; compare dense models with bam.mix")
  end
  if not self.sources or #self.sources < 2 then
    check.fail("report: this is no mixture of several models, so nothing has drifted")
  end
  local opened, experts = source.open("report", self.sources), {}
  for i = 2, #opened do
    experts[i - 1] = { label = opened[i].label, drift = drift_of(opened[1], opened[i]) }
  end
  return setmetatable({ experts = experts, losses = losses_of(self, batches) }, metatable)
end
