-- Identities: equal for descriptions that say the same, here and in another process, and different
-- as soon as anything that matters is. Run by itself as a child, the script prints the identities
-- of one set of descriptions.
local bam = require "bam"
local closure_hash = require "bam.model.fingerprint.closure_hash"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"

local PROGRAM, LUA, CHILD = ...
local TOTAL = 12

local function text(d, total) return bam.json.encode(d:identity(total)) end

local function with(options, changes)
  local changed = {}
  for name, value in pairs(options) do changed[name] = value end
  for name, value in pairs(changes) do changed[name] = value end
  return changed
end

-- ---- routers ----

local Own = bam.nn.module "Own"
function Own:init(o) self.logits = bam.nn.Linear(o.width, o.experts) end
function Own:forward(h) return self.logits(h):softmax(-1) end

local Other = bam.nn.module "Other"
function Other:init(o) self.logits = bam.nn.Linear(o.width, o.experts) end
function Other:forward(h) return self.logits(h):softmax(-1) * 2 end

-- The same text; what differs is the class whose methods it inherits.
local function derived(base)
  local Derived = bam.nn.module("Derived", base)
  function Derived:init(o) self.logits = bam.nn.Linear(o.width, o.experts) end
  return Derived
end

-- The same text; what differs is what it mentions.
local function using(value)
  return function(options) return Own(with(options, { temperature = value })) end
end

-- ---- the descriptions of this script ----

local SIZES = { layers = 2, width = 16, heads = 4, kv_heads = 2, head_width = 8, ffn = 10,
                vocab = 17, tied = false, rope_base = 10000, eps = 1e-5, logit_scale = 1,
                context = 64, std = 0.02 }

local function dense(changes) return bam.models.parallel(with(SIZES, changes or {})) end

local function first_model() return dense():build { seed = 1 } end

local function mixture(directory)
  return bam.mix {
    experts = { first_model(), directory, dense(), { description = dense(), load = print,
                                                     identity = "a phase" } },
    attention = { kv = "shared", router = Own, temperature = function(p) return 1 + p end },
    ffn = { top_k = bam.schedule.linear { from = 4, to = 2 }, router = using(SIZES) },
    freeze = { experts = function(p) return p < 0.5 end },
  }
end

local function print_all(directory)
  print(text(dense()))
  print(text(mixture(directory), TOTAL))
end

if CHILD then return print_all(CHILD) end

local test = require "tests.lua.support.test" -- only here: the child has no cases

local DIRECTORY = os.tmpname()
os.remove(DIRECTORY)
local cleanup <close> = setmetatable({}, { __close = function()
  os.execute(string.format("rm -rf '%s'*", DIRECTORY))
end })

dense():build({ seed = 2 }):save(DIRECTORY)

test("equal", function()
  local ours = string.format("%s\n%s\n", text(dense()), text(mixture(DIRECTORY), TOTAL))
  expect.equal(text(dense()), text(dense()), "made twice")
  expect.equal(text(dense()), text(dense { rope_base = 1e4, eps = 1e-5 }), "what is a default said or not")
  local here = text(mixture(DIRECTORY), TOTAL)
  expect.equal(text(mixture(DIRECTORY), TOTAL), here, "with schedules, made twice")
  local command = string.format("'%s' tests/lua/identity.lua '%s' '%s' '%s'", PROGRAM, PROGRAM, LUA,
                                DIRECTORY)
  local pipe <close> = assert(io.popen(command))
  expect.equal(pipe:read "a", ours, "in another process")
  local moved = string.format("%s-moved", DIRECTORY)
  os.execute(string.format("cp -r '%s' '%s'", DIRECTORY, moved))
  expect.equal(text(mixture(moved), TOTAL), here, "a directory elsewhere")
  expect.equal(bam.json.encode(bam.json.decode(here)), here, "as JSON, and back")
end)

test("every option of a dense model", function()
  local others = { layers = 3, width = 24, heads = 2, kv_heads = 1, head_width = 4, ffn = 11,
                   vocab = 18, tied = true, rope_base = 500, eps = 1e-6, logit_scale = 0.5,
                   context = 65, std = 0.03 }
  for name in pairs(SIZES) do
    expect.different(text(dense { [name] = others[name] }), text(dense()), name)
  end
end)

-- ---- every option of a mixture ----

local models = { first_model(), dense():build { seed = 2 } }

local function mix(changes)
  local options = with({ experts = models }, changes)
  local identity = text(bam.mix(options), TOTAL)
  expect.equal(text(bam.mix(options), TOTAL), identity, "again")
  return identity
end

-- No two of these are one: pairs of what was changed and the identity.
local function all_different(list)
  for i = 1, #list do
    for j = 1, i - 1 do expect.different(list[i], list[j], string.format("change %d against %d", i, j)) end
  end
end

local function rise(p) return p + 0.25 end

test("every option of a mixture counts", function()
  all_different {
    mix {}, mix { aux_group_size = 4 }, mix { seed = 2 },
    mix { load_balance = 0.02 }, mix { z_loss = 0.02 },
    mix { load_balance = rise }, mix { z_loss = rise },
    mix { load_balance = bam.schedule.linear { from = 0.25, to = 1.2 } },
    mix { attention = { experts = "mean" } }, mix { attention = { kv = "shared" } },
    mix { attention = { routing = 1 } }, mix { attention = { routing = 2 } },
    mix { attention = { routing = 2, renormalize = true } },
    mix { attention = { routing = function(p) return 1 + p end } },
    mix { attention = { temperature = 2 } }, mix { attention = { temperature = rise } },
    mix { attention = { jitter = 0.25 } }, mix { attention = { router = Own } },
    mix { ffn = { top_k = 2 } }, mix { ffn = { top_k = 2, renormalize = true } },
    mix { ffn = { top_k = function(p) return 1 + p end } }, mix { ffn = { extra_seed_copies = 1 } },
    mix { ffn = { temperature = 2 } }, mix { ffn = { temperature = rise } },
    mix { ffn = { jitter = 0.25 } }, mix { ffn = { router = Own } }, mix { ffn = { router = Other } },
    mix { ffn = { router = derived(Own) } }, mix { ffn = { router = derived(Other) } },
    mix { ffn = { router = using(1) } }, mix { ffn = { router = using "1" } },
    mix { ffn = { router = using { 1, 2 } } }, mix { ffn = { router = using { 1, { 2 } } } },
    mix { ffn = { router = using(math.exp) } }, mix { ffn = { router = using(math.log) } },
    mix { ffn = { router = using(bam.ones(2)) } }, mix { ffn = { router = using(bam.zeros(2)) } },
    mix { ffn = { router = using(bam.zeros(1, 2)) } },
    mix { ffn = { router = using(bam.schedule.constant(1)) } },
    mix { ffn = { router = using(bam.schedule.constant(2)) } },
    mix { freeze = { experts = true } }, mix { freeze = { experts = false } },
    mix { freeze = { routers = true } }, mix { freeze = { rest = true } },
    mix { freeze = { rest = function(p) return p < 0.5 end } },
    mix { freeze = { rest = function(p) return p < 0.6 end } },
    mix { experts = { models[2], models[1] } }, mix { experts = { models[1], models[1] } },
    mix { experts = { models[1], models[2], models[2] } },
    mix { experts = { dense(), dense() } }, mix { experts = { models[1], DIRECTORY } },
    mix { experts = { dense { std = 0.03 }, dense() } },
    text(bam.upcycle { model = models[1], experts = 2 }),
    text(bam.upcycle { model = models[1], experts = 3 }),
  }
end)

-- ---- what the code of a router reads ----

local function of_router(f) return mix { ffn = { router = f } } end

-- Each change of what is read must change the identity, and undoing it must give the same again.
local function counts(what, router, change, undo)
  local before = of_router(router)
  change()
  expect.different(of_router(router), before, what)
  undo()
  expect.equal(of_router(router), before, what .. ", undone")
end

local function reads_global(options) return Own(with(options, { temperature = alpha or 1 })) end
local function set_alpha(value) return function() rawset(_G, "alpha", value) end end
local function helper() return alpha end

local here
test("a router counts by everything that it reads", function()
  counts("a global", reads_global, set_alpha(2), set_alpha(nil))
  counts("a global of a function inside",
         function() return function(h) return h * alpha end end, set_alpha(2), set_alpha(nil))
  local Reader = bam.nn.module "Reader"
  function Reader:forward(h) return h * alpha end
  counts("a global that a method reads", Reader, set_alpha(2), set_alpha(nil))
  counts("a global that a base's method reads", derived(Reader), set_alpha(2), set_alpha(nil))
  counts("a global that a function around it reads", function(o) return Own(o, helper()) end,
         set_alpha(2), set_alpha(nil))
  counts("a global of _G", function(o) return _G.alpha and Own(o) end, set_alpha(2), set_alpha(nil))
  counts("a global by _G's key", function(o) return _G["alpha"] and Own(o) end, set_alpha(2),
         set_alpha(nil))
  local all_globals = _G
  counts("a global of a local _G", function(o) return all_globals.alpha and Own(o) end, set_alpha(2),
         set_alpha(nil))
  set_alpha { rate = 1 } ()
  counts("a field of a global table", function() return alpha.rate end,
         function() alpha.rate = 2 end, function() alpha.rate = 1 end)
  local function same(h) return h end
  set_alpha(same)()
  counts("a global function", function(h) return alpha(h) end,
         set_alpha(function(h) return h * 2 end), set_alpha(same))
  set_alpha(nil)()
  here = { alpha = 1 }
  local elsewhere = load("return function() return alpha end", "=elsewhere.lua", "t", here)
  expect.no(pcall(of_router, elsewhere()), "its text cannot be read")
  do
    local _ENV = { bam = bam, alpha = 1 }
    local function router() return alpha end
    counts("the environment of a function", router, function() alpha = 2 end,
           function() alpha = 1 end)
  end
end)

test("with more constants than an instruction can name, globals are read in another way", function()
  do
    local path, parts = string.format("%s-many.lua", DIRECTORY), { "return function(h) local t = {" }
    for i = 1, 300 do parts[#parts + 1] = string.format('"constant %d",', i) end
    parts[#parts + 1] = "} return alpha, math.exp(1), t end"
    core.write_file(path, table.concat(parts, "\n"))
    counts("a global among many constants", dofile(path), set_alpha(2), set_alpha(nil))
  end

  local settings = { list = { 1, 2 }, deep = { deeper = { x = 1 } } }
  local function uses_settings() return settings.list end
  counts("a table by reference", uses_settings, function() settings.list[2] = 3 end,
         function() settings.list[2] = 2 end)
  counts("a table in a table", uses_settings, function() settings.deep.deeper.x = 2 end,
         function() settings.deep.deeper.x = 1 end)
  counts("a boolean key", uses_settings, function() settings[true] = 2 end,
         function() settings[true] = nil end)
  counts("a table as a key", uses_settings, function() settings[here] = 2 end,
         function() settings[here] = nil end)
  counts("a function as a key", uses_settings, function() settings[helper] = 2 end,
         function() settings[helper] = nil end)
  counts("a table that is its own key", uses_settings, function() settings[settings] = 2 end,
         function() settings[settings] = nil end)
  local factor = 1
  counts("what __index gives", uses_settings, function()
    setmetatable(settings, { __index = function() return factor end })
  end, function() setmetatable(settings, nil) end)
  setmetatable(settings, { __index = function() return factor end, __call = function() end })
  counts("what a function of its metatable uses", uses_settings, function() factor = 2 end,
         function() factor = 1 end)
  setmetatable(settings, nil)
  local nested = function() return function() return factor end end
  counts("a local variable of a function inside", nested, function() factor = 2 end,
         function() factor = 1 end)

  counts("what is added to a library", function(h) return math.double(h) end,
         function() math.double = function(x) return 2 * x end end,
         function() math.double = nil end)
  local m = math
  counts("a number added to a library", function() return m.alpha end,
         function() math.alpha = 2 end, function() math.alpha = nil end)
  local exp = math.exp
  counts("what is replaced in a library", function(h) return math.exp(h) end,
         function() math.exp = function(x) return exp(x) end end, function() math.exp = exp end)
  local forward = bam.nn.Linear.forward
  local function patch() function bam.nn.Linear:forward(x) return forward(self, x) end end
  counts("what is replaced in bam", function(o) return bam.nn.Linear.forward(o) end, patch,
         function() bam.nn.Linear.forward = forward end)
  expect.equal(closure_hash.patches(), nil)
  patch()
  local patches = closure_hash.patches()
  expect.yes(patches["bam.nn.Linear.forward"])
  expect.equal(next(patches, next(patches)), nil)
  bam.nn.Linear.forward = forward

  local a, b = function(h) return h + 1 end, function(h) return h + 2 end
  expect.different(of_router(a), of_router(b), "which function of a line")
end)

test("modules count by what they hold", function()
  local directory <close> = setmetatable({ path = os.tmpname() }, { __close = function(self)
    os.execute(string.format("rm -rf '%s'", self.path))
  end })
  os.remove(directory.path)
  core.make_directory(directory.path)
  package.path = string.format("%s/?.lua;%s", directory.path, package.path)
  local function module(source)
    package.loaded.constants_of_router = nil
    core.write_file(directory.path .. "/constants_of_router.lua", source)
  end
  module "return { alpha = 1 }"
  module "-- a comment\nreturn { cap = function(h) return h + 1 end }"
  local cap = require("constants_of_router").cap
  core.write_file(directory.path .. "/constants_of_router.lua", "return {}")
  local kept, why = pcall(of_router, cap)
  expect.yes(kept, why)
  module "return { alpha = 1 }"
  counts("a module", function(o) return require("constants_of_router").alpha end,
         function() module "return { alpha = 2 }" end,
         function() module "return { alpha = 1 }" end)
end)

function string.double(x) return x:rep(2) end

test("what would give other results with the same fingerprint is refused by name", function()
  local random, clock = math.random, os.clock
  local utilities = { noise = function() return math.random() end, half = function(x) return x / 2 end }
  local next_number = coroutine.wrap(function() coroutine.yield(1) end)
  for name, router in pairs {
    ["math.random: no checkpoint saves its state"] = function(o) o.std = math.random() end,
    ["uses math.random"] = function() return function(h) return h * random() end end,
    ["uses math.randomseed"] = function() local standard = math return standard.randomseed(1) end,
    ["uses os.getenv: what it gives is in no fingerprint"] = function() return os.getenv "A" end,
    ["uses os.clock"] = function() return clock() end,
    ["uses io.open"] = function() return io.open "a" end,
    ["uses load: code made while it runs"] = function() return load "return 1" end,
    ["uses a function in C that no module names"] = function() return next_number() end,
    ["reads globals by computed names"] = function(o)
      for _, name in ipairs { "alpha" } do o.std = _ENV[name] end
    end,
    ["reads globals by computed names, or hands"] = function() return next(_G) end,
    ["which ones cannot be told"] = function() return function(h) return rawget(_G, "alpha") end end,
    ["uses math.random:"] = function() return utilities.noise() end,
    ["requires a module by a computed name"] = function(o) return require(o.name) end,
    ["uses dofile"] = function() return function() return dofile "a" end end,
  } do
    local ok, message = pcall(of_router, router)
    expect.no(ok, message)
    expect.contains(message, name)
  end
  of_router(function(h) return math.exp(1), os.tmpname, utilities.half(h) end)
  expect.yes(closure_hash.patches()["string.double"], "a method added to strings")
  string.double = nil
  expect.equal(closure_hash.patches(), nil)
end)

test("a schedule counts by its values at the steps of the run, and by nothing else", function()
  local straight = bam.schedule.linear { from = 0.25, to = 1.25 }
  local function line(p) return 0.25 * (1 - p) + 1.25 * p end
  expect.equal(mix { z_loss = line }, mix { z_loss = straight }, "the same values")
  expect.equal(mix { z_loss = bam.schedule.constant(0.5) }, mix { z_loss = 0.5 },
               "a schedule that never changes")
  local function nearly() return 1.8 end
  expect.equal(mix { ffn = { top_k = nearly } }, mix { ffn = { top_k = 2 } }, "k as rounded")
  expect.equal(mix { freeze = { rest = function() return 1 end } }, mix { freeze = { rest = true } },
               "a function that is a number")
  local d = bam.mix { experts = models, z_loss = rise }
  expect.different(text(d, 10), text(d, 11), "the number of steps")
  local late = bam.schedule.piecewise { { 0, 1 }, { 1, 1 }, { 1, 2 } } -- changes at the last step
  expect.different(mix { z_loss = late }, mix { z_loss = 1 }, "one step")
end)

test("what is mixed, by what it holds", function()
  local function of(expert) return mix { experts = { models[1], expert } } end
  local model = dense():build { seed = 2 }
  local before = of(model)
  expect.equal(before, of(models[2]), "the same values")
  bam.no_grad(function() model.layers[2].ffn.down.weight[{ 3, 4 }] = 0.5 end)
  expect.different(of(model), before, "one value")
  local double = dense():build { seed = 2, dtype = "f64" }
  expect.different(of(double), before, "the dtype")
  model.tokenizer_json = "{}"
  models[1].tokenizer_json = "{}"
  expect.different(of(model), before, "the tokenizer")
  models[1].tokenizer_json = nil
  model.tokenizer_json = nil

  local files = string.format("%s-files", DIRECTORY)
  models[2]:save(files)
  local saved = of(files)
  models[1]:save(files)
  expect.different(of(files), saved, "another directory's weights")
  models[2]:save(files)
  expect.equal(of(files), saved, "the same once more")
  models[2]:save(files, { shard_bytes = 3000 })
  expect.different(of(files), saved, "its shards")
  models[2]:save(files)
  local config = string.format("%s/config.json", files)
  core.write_file(config, (core.read_file(config):gsub('"use_cache": true', '"use_cache": false')))
  expect.different(of(files), saved, "its config.json")

  local function phase(identity) return { description = dense(), load = function() return model end,
                                          identity = identity } end
  expect.different(of(phase "a"), of(phase "b"), "a phase's identity")
  expect.equal(of(phase "a"), of(with(phase "a", { load = error })), "a phase is not loaded for that")
  expect.equal(of(phase()), of(model), "a phase without one, by its model")
end)

test("a router's text is read from its file", function()
  local path = string.format("%s-router.lua", DIRECTORY)
  local lines = { "local function helper(x)", "  return x", "end", "-- a comment",
                  "return function(options) return helper(options) end" }
  local function router(changes)
    core.write_file(path, table.concat(with(lines, changes or {}), "\n"))
    return dofile(path)
  end
  local function of(f) return mix { ffn = { router = f } } end
  local before = of(router())
  expect.equal(of(router { [4] = "-- another" }), before, "what stands elsewhere in the file")
  expect.different(of(router { [2] = "  return x, 1" }), before, "a function that it calls")
  expect.different(of(router { [5] = "return function(o) return helper(o) end" }), before, "its own text")
  -- The text is that which the function was read from, whatever the file holds later.
  local f, other = router(), router { [2] = "  return x, 2", [4] = "\n" }
  router()
  of(f)
  core.write_file(path, "return nil")
  expect.equal(of(f), before, "a file that was edited since")
  local ok, message = pcall(of, other)
  local expected = "-router.lua:6 counts by its text, which cannot be read: the file was changed"
  expect.no(ok, message)
  expect.contains(message, expected)
  os.remove(path)
  expect.equal(of(f), before, "a file that was deleted since")
  ok, message = pcall(of, other)
  expect.no(ok, message)
  expect.contains(message, "No such file")
end)

