-- How much memory a training step needs, in a process of its own, so that nothing else counts:
--
--     bamlua tests/bench/resident.lua LAYERS WIDTH HEADS FFN VOCAB BATCH LENGTH
--
-- prints the bytes by which peak resident memory grew, after a step of a tiny model had loaded all code. Takes 2 steps;
-- the second one has gradients and moments. `peer.py --memory` does the same.
local HERE = arg[0]:match "^(.*/)" or "./"
package.path = string.format("%s../../?.lua;%s", HERE, package.path)

local machine = require "tests.bench.machine"
local models = require "tests.bench.models"

local function steps(layers, width, heads, ffn, vocab, batch, length)
  local step = models.step { layers = layers, width = width, heads = heads, ffn = ffn, vocab = vocab, batch = batch,
                             length = length, update = true }
  step()
  step()
end

local sizes = {}
for i, word in ipairs(arg) do sizes[i] = math.tointeger(tonumber(word)) end
steps(1, 32, 1, 32, 64, 1, 8)
local before = machine.peak_resident()
steps(table.unpack(sizes))
print(before and machine.peak_resident() - before or "unknown")
