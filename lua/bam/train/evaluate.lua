-- bam.evaluate: how well a model predicts held-out text. Every token is predicted once. Standard errors are those of
-- the mean over windows, treated as independent.
local check = require "bam.util.check"
local codec = require "bam.model.codec"
local checkpoint = require "bam.model.checkpoint"
local core = require "bam.core"
local description = require "bam.model.description"
local module = require "bam.nn.module"
local old_fields = require "bam.util.old_fields"
local phase = require "bam.train.phase"
local tuning = require "bam.train.tuning"

local M = {}

local ops = core.ops
local TOKENS_AT_ONCE = 4096

-- Append the negative log likelihoods of windows first .. first + count - 1 of a domain, and their token counts, to the
-- lists.
local function add_windows(model, set, domain, first, count, sums, tokens)
  core.scope(function()
    local b = set:batch(domain, first, count)
    local logs = model:log_likelihood(b.ids, b.targets,
                                      { documents = b.documents, positions = b.positions })
    local nll = ops.neg(ops.sum(ops.to(logs, "f64"), 2)):totable()
    local n = ops.sum(ops.to(ops.ne(b.targets, -100), "i64"), 2):totable()
    for i = 1, count do sums[#sums + 1], tokens[#tokens + 1] = nll[i], n[i] end
  end)
end

local function total(list)
  local sum = 0
  for _, x in ipairs(list) do sum = sum + x end
  return sum
end

--- Standard error of the ratio total(sums) / total(tokens); nil for fewer than two windows.
---@param sums number[]
---@param tokens integer[]
---@return number?
function M.ratio_error(sums, tokens)
  local n, all = #sums, total(tokens)
  if n < 2 then return nil end
  local mean, squares = total(sums) / all, 0
  for i = 1, n do squares = squares + (sums[i] - mean * tokens[i]) ^ 2 end
  return math.sqrt(squares * n / (n - 1)) / all
end

local function summarise(sums, tokens, bytes)
  local nats, n = total(sums), total(tokens)
  local loss, error_of_loss = nats / n, M.ratio_error(sums, tokens)
  return old_fields.metrics {
    loss = loss, perplexity = math.exp(loss), bits_per_byte = nats / bytes / math.log(2),
    standard_error = error_of_loss and math.exp(loss) * error_of_loss, tokens = n,
    bytes = bytes, windows = { nats = sums, tokens = tokens } }
end

local function evaluate_domain(model, set, domain, at_once)
  local sums, tokens = {}, {}
  for first = 1, set[domain].count, at_once do
    local count = math.min(at_once, set[domain].count - first + 1)
    add_windows(model, set, domain, first, count, sums, tokens)
  end
  return summarise(sums, tokens, set[domain].bytes)
end

local function average(domains, names)
  local sum, bits, squares = 0, 0, 0
  for _, name in ipairs(names) do
    local d = domains[name]
    sum, bits = sum + d.perplexity, bits + d.bits_per_byte
    squares = squares + (d.standard_error or 0 / 0) ^ 2
  end
  return { perplexity = sum / #names, bits_per_byte = bits / #names,
           standard_error = squares == squares and math.sqrt(squares) / #names or nil }
end

local spec = { context = { "size", optional = true }, tokens = { "size", optional = true },
               domains = { "list", optional = true }, cache = { "string", optional = true } }

-- The domains to evaluate on: the requested ones, all of which must exist.
local function choose(set, wanted)
  for _, name in ipairs(wanted or {}) do
    if not set[name] or not set[name].count then
      check.fail("evaluate: no domain %s%s", check.describe(name),
                 check.suggestion(name, set.domains))
    end
  end
  return wanted or set.domains
end

-- A model with its own tokenizer must have the text's tokenizer, because ids mean different words in another one.
local function check_tokenizer(model, heldout)
  local own, text = rawget(model, "tokenizer_json"), rawget(heldout, "text")
  if own and text and not codec.same(own, text.tokenizer:json()) then
    check.fail("evaluate: the model and the text have different tokenizers; give the model's to the text: "
               .. 'bam.corpus({ ... }, { tokenizer = "MODEL/tokenizer.json" })')
  end
end

-- The live model, or the ensemble, to evaluate.
local function read_model(value)
  if phase.is(value) then return value:load() end
  if type(value) == "string" then return checkpoint.load(value) end
  if type(value) ~= "table" or not check.is_callable(check.field(value, "log_likelihood")) then
    local hint = description.is(value) and "; a description has no weights: give description:build()" or ""
    check.fail("evaluate: expected a model, an ensemble, a phase or the directory of one, got %s%s",
               check.describe(value), hint)
  end
  return value
end

--- Evaluate a model on held-out text: loss (nats per token), perplexity, its standard error (nil for a single window)
--- and bits per byte of each domain; `windows` has the nats and tokens of each window. The average is the mean of the
--- perplexities, as in Table 1 of the paper.
---@param model any a model, an ensemble, a phase (its final weights), or the directory of a model or a phase
---@param heldout any text.heldout; or files, which are read with the model's own tokenizer: a path or pattern, a list
--- of these, or a table of these by domain: { law = "law-test/*.txt" }. Paths are relative to the script
---@param options? { context?: integer, tokens?: integer, domains?: string[], cache?: string } tokens per window, the
--- model's context by default; limit of tokens per domain; all domains by default; where tokens of files are kept
---@return { domains: table<string, table>, average: table }
function M.evaluate(model, heldout, options)
  local o = check.options("evaluate", options, spec)
  model = read_model(model)
  if type(heldout) ~= "table" or not check.is_callable(check.field(heldout, "open")) then
    heldout = require("bam.train.files_to_evaluate").heldout(model, heldout, o.cache)
  end
  local d = rawget(model, "description")
  local context = o.context or d and d.context
  if not context then check.fail "evaluate: give the length of windows: { context = 128 }" end
  check_tokenizer(model, heldout)
  local set, domains = heldout:open { context = context, tokens = o.tokens }, {}
  local at_once, names = math.max(1, TOKENS_AT_ONCE // context), choose(set, o.domains)
  local function run()
    for _, name in ipairs(names) do domains[name] = evaluate_domain(model, set, name, at_once) end
  end
  if module.is_module(model) then model:in_eval(run) else run() end
  tuning.flush()
  return { domains = domains, average = average(domains, names) }
end

return M
