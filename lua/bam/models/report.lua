--- The merge report: how far each expert has drifted from the seed, by layer and module, and what the
--- mixture's loss is before it has been trained. d:report { data = { law = batch, ... } }.
local check = require "bam.check"
local core = require "bam.core"
local description = require "bam.models.description"
local names = require "bam.models.names"

local ops = core.ops

-- ---- drift ----

-- The group an entry is reported in: "layer 3 attention", or what stands alone.
local function group_of(entry)
  if entry.layer then return string.format("layer %d %s", entry.layer, entry.kind) end
  return entry.kind == "norm" and "final norm" or entry.kind
end

-- Sums over a tensor pair: |seed|², |expert|², seed·expert, |expert - seed|².
local function add_sums(sums, seed, expert)
  core.scope(function()
    local a, b = ops.to(seed, "f64"), ops.to(expert, "f64")
    local c = ops.sub(b, a)
    local values = { ops.mul(a, a), ops.mul(b, b), ops.mul(a, b), ops.mul(c, c) }
    for i, x in ipairs(values) do sums[i] = (sums[i] or 0) + ops.sum(x):item() end
  end)
end

-- One expert against the seed, group by group in the order of the layers.
local function drift_of(seed, source)
  local order, sums = {}, {}
  for _, entry in ipairs(names.list(seed.description)) do
    local group = group_of(entry)
    if not sums[group] then order[#order + 1], sums[group] = group, {} end
    add_sums(sums[group], seed.read(entry), source.read(entry))
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

-- One batch of a data set: ids [B, T + 1], or { ids, targets, documents, positions } by name.
local function loss_of(model, what, batch)
  if check.is_tensor(batch) then
    if batch.ndim ~= 2 or batch:size(2) < 2 then
      check.fail("report: %s: expected token ids [batch, time + 1], got %s", what,
                 check.describe(batch))
    end
    local time = batch:size(2) - 1
    batch = { ids = ops.narrow(batch, 2, 1, time), targets = ops.narrow(batch, 2, 2, time) }
  end
  local o = check.options(string.format("report: %s", what), batch, {
    ids = { "any" }, targets = { "any" }, documents = { "any", optional = true },
    positions = { "any", optional = true } })
  local _, parts = model:loss(o.ids, o.targets, { documents = o.documents, positions = o.positions })
  return parts.nll:item()
end

local function losses_of(d, data)
  local losses = {}
  if not next(data) then return losses end
  local model = d:build():eval()
  for name, batch in pairs(data) do
    losses[name] = core.scope(function()
      return core.with_grad(false, loss_of, model, tostring(name), batch)
    end)
  end
  return losses
end

-- ---- the report ----

local metatable = { __name = "merge report" }

local function sorted(t)
  local list = {}
  for name in pairs(t) do list[#list + 1] = name end
  table.sort(list)
  return list
end

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
  for _, name in ipairs(sorted(self.losses)) do
    lines[#lines + 1] = string.format("loss at step 0, %-9s %.4f", name, self.losses[name])
  end
  return table.concat(lines, "\n")
end

local spec = { data = { "table", optional = true } }

-- The report of a mixture's description. It prints as a table; `experts` is a list of { label, drift =
-- { { module, relative_norm, cosine }, ... } } for all but the seed, `losses` has nats by data set.
local function report(self, options)
  local o = check.options("report", options, spec)
  local sources = self.sources
  if not sources or #sources < 2 then
    check.fail("report: this is no mixture of several models, so nothing has drifted")
  end
  local result = { experts = {}, losses = {} }
  for i, source in ipairs(sources) do
    if not source.read then
      check.fail("report: %s is a description without weights", source.label)
    end
    if i > 1 then
      result.experts[i - 1] = { label = source.label, drift = drift_of(sources[1], source) }
    end
  end
  result.losses = losses_of(self, o.data or {})
  return setmetatable(result, metatable)
end

description.method("report", report)

return report
