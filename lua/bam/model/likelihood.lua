-- The log probability of each target, for evaluating: without ever holding all logits.
local check = require "bam.util.check"
local core = require "bam.core"

local ops = core.ops

local CHUNK_BYTES = 100e6 -- of logits at once
local IGNORED = -100

-- Log probabilities [tokens] of targets [tokens], which are within the vocabulary.
local function in_chunks(h, weight, targets)
  local rows, parts = h:size(1), {}
  local chunk = math.max(1, math.floor(CHUNK_BYTES / (8 * weight:size(1))))
  for from = 1, rows, chunk do
    local n = math.min(chunk, rows - from + 1)
    local logits = ops.linear(ops.narrow(h, 1, from, n), weight, nil, h.dtype == "bf16" and "f32" or nil)
    local at = ops.add(ops.reshape(ops.narrow(targets, 1, from, n), n, 1), 1)
    parts[#parts + 1] = ops.reshape(ops.gather(ops.log_softmax(logits, -1), at, -1), n)
  end
  return ops.concat(parts, 1)
end

local function check_targets(targets, vocab)
  local outside = ops.logical_or(ops.lt(targets, 0), ops.ge(targets, vocab))
  if not ops.any(outside):item() then return end
  local place = ops.argmax(ops.to(outside, "i64")):item()
  check.fail("log_likelihood: token id %d (element %d of `targets`) is outside 0 .. %d",
             targets[place]:item(), place, vocab - 1)
end

--- The log probability of each target; 0 where it is -100.
---@param h tensor [tokens, width] times logit_scale
---@param weight tensor [vocab, width] of the head
---@param targets tensor [tokens]
---@return tensor [tokens]
return function(h, weight, targets)
  local counts = ops.ne(targets, IGNORED)
  local ids = ops.where(counts, targets, 0)
  check_targets(ids, weight:size(1))
  return ops.where(counts, in_chunks(h, weight, ids), 0)
end
