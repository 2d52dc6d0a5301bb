-- What a user gets wrong in a first router: the message names the router's line or field and says what to write.
-- Usage: build/bamlua tests/lua/router_faults.lua build/bamlua
local bam = require "bam"
local expect = require "tests.lua.support.expect"
local small = require "tests.lua.support.small_run"
local test = require "tests.lua.support.test"

local dense = bam.models.parallel { layers = 1, width = 16, heads = 2, ffn = 24, vocab = 64 }
local seeds = { dense:build { seed = 1 }, dense:build { seed = 2 } }
local ids = bam.randint(0, 63, 4, 17)

-- A class of routers with this forward: the code of a method, with s and e as the scores and choices of a sound one.
local CLASS = [[
local Mine = bam.nn.module "Mine"
function Mine:init(o)
  self.k, self.experts = o.top_k, o.experts
  self.weight = bam.nn.weights.normal({ o.experts, o.width }, o.std, o.dtype)
  self.bias = bam.zeros(o.experts)
end
function Mine:forward(h, batch)
  local s = h:matmul(self.weight:t()):sigmoid()
  local _, e = s:detach():topk(self.k, -1)
  %s
end
function Mine:after_step(statistics) %s end
]]

local function code_of(forward, after) return CLASS:format(forward, after or "") end

-- The message of a forward pass, or of what is done with the model.
local function message_of(make, use)
  local fine, message = pcall(function()
    local model = bam.mix { experts = seeds, ffn = { top_k = 1, router = make } }:build()
    if use then return use(model) end
    return model:loss(ids:slice(2, 1, 16), ids:slice(2, 2, 17))
  end)
  return fine and "no error" or message
end

local function router(forward, after)
  return assert(load(code_of(forward, after) .. "return Mine", "=mine.lua", "t", setmetatable({ bam = bam }, { __index = _G })))()
end

test("experts that count from 0", function()
  local zero_based = message_of(router "return s:gather(e, -1), e - 1")
  expect.matches(zero_based, "router of ffn %(forward at mine.lua:7%): expert 0 has a gate of [%d.]+, and expert 2 no token; "
                 .. "experts count from 1, and 0 means none, with a gate of 0$")
  expect.equal(message_of(router "return s:gather(e, -1), e"), "no error", "from 1")
  expect.equal(message_of(router "return s:gather(e, -1) * e:ne(1), e * e:ne(1)"), "no error", "0 with a gate of 0")
  expect.equal(message_of(router "return s:gather(e, -1), e * e:ne(1)"), "no error", "the last expert has tokens")
end)

test("a model that was loaded may have given up an expert", function()
  local place, make = os.tmpname(), router "return s:gather(e, -1), e - 1"
  os.remove(place)
  bam.mix { experts = seeds, ffn = { top_k = 1, router = make } }:build():save(place)
  local loaded = bam.load(place, { routers = { ffn = make } })
  expect.yes(loaded:loss(ids:slice(2, 1, 16), ids:slice(2, 2, 17)))
  os.execute("rm -r " .. place)
end)

test("what forward returns", function()
  expect.contains(message_of(router "return nil"), "router of ffn (forward at mine.lua:7): expected gates [B, T, k] for h")
  expect.contains(message_of(router "return s:gather(e, -1)"), "router of ffn (forward at mine.lua:7): 1 gates without "
                  .. "`experts`, and there are 2 experts; return both: gates, experts")
  expect.contains(message_of(function(h) return h end), "write router = function(options) return function(h, batch) ... end "
                  .. "end")
end)

test("a field that is nil", function()
  expect.equal(message_of(router "return self.scale * h"),
               "mine.lua:10: mul: argument 1 (a): expected a tensor or a number, got nil")
end)

test("after_step without statistics", function()
  local function after(model) model:after_step {} end
  expect.matches(message_of(router("", "self.bias:add_(statistics.load)"), after),
                 "^mine.lua:12: attempt to index a nil value %(local 'statistics'%); the statistics of after_step are nil, as "
                 .. "forward returns none: return gates, experts, { statistics = s }")
  expect.equal(message_of(router("", "if statistics then error 'some' end"), after), "no error", "one that asks first")
  expect.equal(message_of(router("", "error 'mine'"), after), "mine.lua:12: mine", "other errors stay as they are")
end)

-- Train with a router, in a directory of its own.
local function trained(code)
  local recipe = small.RECIPE:gsub("local function train", function(line) return code .. line end)
    :gsub("jitter = 0.1 }", "router = Mine }")
  local directory = small.directory(recipe)
  local output, fine = small.run(directory)
  small.remove(directory)
  expect.no(fine, output)
  return output
end

test("a result assigned to a field", function()
  local words = "`layers.1.ffn.router.bias` holds a tensor that was released at the end of a step or evaluation; change the "
    .. "one that `init` made in place, self.bias:copy_(x), or keep caches in a field whose name begins with _"
  expect.contains(trained(code_of "self.bias = self.bias + 1; return s:gather(e, -1), e"), words)
  expect.contains(trained(code_of("return s:gather(e, -1), e", "self.bias = self.bias + 1")), words)
end)

test("state that an evaluation changes", function()
  expect.contains(trained(code_of "self.bias:add_(1); return s:gather(e, -1), e"),
                  "an evaluation changed the values of `layers.1.ffn.router.bias` of the model. Evaluations must not change "
                  .. "the weights: a router may store new state only while its field `training` is true: if self.training")
end)
