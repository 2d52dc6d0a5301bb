--- Whole models as cases of the benchmarks: a dense model of parallel blocks, or a mixture of several of them.
local bam = require "bam"

local M = {}

local function dense(of)
  return bam.models.parallel { layers = of.layers, width = of.width, heads = of.heads, ffn = of.ffn,
                               vocab = of.vocab }
end

-- `count` times what `make` gives.
local function several(count, make)
  local list = {}
  for i = 1, count do list[i] = make() end
  return list
end

local function mixed(experts, attention)
  return bam.mix { experts = experts, attention = attention, ffn = { top_k = 1 },
                   load_balance = 0.01, z_loss = 0.001 }
end

--- A function that does forward and backward once, and with `update` the rest of a training step.
---@param of table see M.case
---@return function step
function M.step(of)
  local one = dense(of)
  local function build() return one:build() end
  local net = of.mixing and mixed(several(of.experts, build), of.mixing):build() or build()
  local opt = bam.optim.AdamW(net, { lr = 1e-4 })
  local last, B, T = of.vocab - 1, of.batch, of.length
  local ids, targets = bam.randint(0, last, B, T), bam.randint(0, last, B, T)
  local function step()
    opt:zero_grad()
    net:loss(ids, targets, { scale = 1 / targets:count() }):backward()
    if of.update then
      opt:clip(1)
      opt:step()
    end
  end
  return function() bam.scope(step) end
end

--- A case of one step.
---@param title string the sizes are added
---@param of table { layers, width, heads, ffn, vocab, batch, length, update }; for a mixture also `mixing`, the options
--- of its attention, and `experts`, how many dense models are mixed
---@return table case
function M.case(title, of)
  local B, T, one = of.batch, of.length, dense(of)
  local d = of.mixing and mixed(several(of.experts, function() return one end), of.mixing) or one
  return {
    title = string.format("%s, %d layer%s, width %d, %dx%d tokens", title, of.layers, of.layers > 1 and "s" or "", d.width,
                          B, T),
    kind = "model", tokens = B * T, flops = B * T * d:flops(T).training,
    sizes = { of.layers, d.width, d.heads, d.ffn.hidden, d.vocab, B, T, of.update and 1 or 0,
              d.attention.experts, d.attention.kv == "shared" and 1 or 0, d.ffn.experts, d.ffn.top_k },
    prepare = function() return M.step(of) end,
  }
end

return M
