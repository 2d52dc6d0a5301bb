-- What a Lua function reads by constant names: globals, and fields of its upvalues ("math.exp",
-- "settings.alpha"), also in the functions inside it. This is taken from its compiled code, Lua
-- 5.4's; how that is laid out is checked once by a function whose reads are known.
--
-- A read is a node { keys = { [name] = node }, is_whole, arguments, has_unknown_argument }: `is_whole`
-- tells that a field was read by a computed name, or that it was an argument of a call; `arguments`
-- are the strings that it was called with itself, as require is.
local check = require "bam.util.check"

local M = {}

local SIZES = string.char(4, 8, 8) -- of an instruction, an integer and a float
local SIGNATURE = string.format("\27Lua\x54\0\x19\x93\r\n\x1a\n%s", SIZES)
local HEADER = #SIGNATURE + 16 -- an integer and a float follow

local MOVE, LOADK, GETUPVAL, GETTABUP, GETTABLE, GETFIELD, SELF = 0, 3, 9, 11, 12, 14, 20
local CALL, TAILCALL, CLOSURE = 68, 69, 79

-- ---- reading a dump ----

local Dump = {}
Dump.__index = Dump

function Dump:byte()
  self.at = self.at + 1
  return self.text:byte(self.at - 1)
end

-- A number in groups of 7 bits, the last of which is marked.
function Dump:number()
  local value = 0
  repeat
    local byte = self:byte()
    value = value << 7 | byte & 0x7f
  until byte & 0x80 ~= 0
  return value
end

function Dump:string()
  local size = self:number()
  if size == 0 then return nil end
  self.at = self.at + size - 1
  return self.text:sub(self.at - size + 1, self.at - 1)
end

function Dump:skip(bytes) self.at = self.at + bytes end

function Dump:code()
  local list = {}
  for i = 1, self:number() do
    list[i] = string.unpack("<I4", self.text, self.at)
    self:skip(4)
  end
  return list
end

local NUMBERS, STRINGS = { [3] = true, [19] = true }, { [4] = true, [20] = true }

-- The constants that are strings, by their numbers from 0.
function Dump:constants()
  local list = {}
  for i = 0, self:number() - 1 do
    local kind = self:byte()
    if NUMBERS[kind] then self:skip(8) end
    if STRINGS[kind] then list[i] = self:string() end
  end
  return list
end

function Dump:upvalues()
  local list = {}
  for i = 0, self:number() - 1 do
    list[i] = { in_stack = self:byte() ~= 0, index = self:byte() }
    self:skip(1)
  end
  return list
end

function Dump:skip_debug()
  self:skip(self:number())
  for _ = 1, self:number() do self:number() self:number() end
  for _ = 1, self:number() do self:string() self:number() self:number() end
  for _ = 1, self:number() do self:string() end
end

function Dump:prototype()
  local p = { inner = {} }
  self:string()
  self:number()
  self:number()
  self:skip(3)
  p.code, p.constants, p.upvalues = self:code(), self:constants(), self:upvalues()
  for i = 1, self:number() do p.inner[i] = self:prototype() end
  self:skip_debug()
  return p
end

local function prototype_of(f)
  local dump = setmetatable({ text = string.dump(f), at = HEADER + 2 }, Dump)
  if dump.text:sub(1, #SIGNATURE) ~= SIGNATURE then return nil end
  return dump:prototype()
end

-- ---- following reads ----

local function child(node, name)
  if not node or not name then return nil end
  node.keys[name] = node.keys[name] or { keys = {} }
  return node.keys[name]
end

-- The field whose name is in a register, where it may be known.
local function computed(node, name)
  if not node then return nil end
  if name then return child(node, name) end
  node.is_whole = true
end

-- A call of what is in register `a`, with `count` arguments after it, or -1: up to some register.
local function note_call(registers, texts, a, count)
  for register, node in pairs(registers) do
    if register > a and (count < 0 or register <= a + count) then node.is_whole = true end
  end
  local node, argument = registers[a], texts[a + 1]
  if not node then return end
  node.arguments = node.arguments or {}
  if argument then node.arguments[argument] = true else node.has_unknown_argument = true end
end

local follow

-- The function inside that is made when the registers hold these nodes.
local function follow_inner(inner, upvalues, registers)
  local own = {}
  for i, up in pairs(inner.upvalues) do
    own[i] = (up.in_stack and registers or upvalues)[up.index]
  end
  follow(inner, own)
end

-- What the code of `p` reads; upvalues[i] is the node of its upvalue i, nil where it is of no
-- interest. Jumps are not followed: a register is what the line above made of it.
function follow(p, upvalues)
  local registers, texts = {}, {}
  for _, word in ipairs(p.code) do
    local op, a, b, c = word & 0x7f, word >> 7 & 0xff, word >> 16 & 0xff, word >> 24
    local result, text
    if op == MOVE then
      result = registers[b]
    elseif op == GETUPVAL then
      result = upvalues[b]
    elseif op == GETTABUP then
      result = child(upvalues[b], p.constants[c])
    elseif op == GETFIELD or op == SELF and word >> 15 & 1 == 1 then
      result = child(registers[b], p.constants[c])
    elseif op == GETTABLE or op == SELF then
      result = computed(registers[b], texts[c])
    elseif op == LOADK then
      text = p.constants[word >> 15]
    elseif op == CLOSURE then
      follow_inner(p.inner[(word >> 15) + 1], upvalues, registers)
    elseif op == CALL or op == TAILCALL then
      note_call(registers, texts, a, b - 1)
      for register in pairs(registers) do
        if register >= a then registers[register] = nil end
      end
    end
    registers[a], texts[a] = result, text
  end
end

local function reads(f)
  local p = prototype_of(f)
  if not p then return nil end
  local nodes, upvalues = {}, {}
  for i in pairs(p.upvalues) do
    upvalues[i] = { keys = {} }
    nodes[i + 1] = upvalues[i]
  end
  follow(p, upvalues)
  return nodes
end

local known -- is this the bytecode that is understood?
local read_before = setmetatable({}, { __mode = "k" }) -- what M.reads gave, by function

local function check_known()
  local outer = { inner = 1 }
  local function probe(x) return x, function() return math.pi, outer.inner, outer[x] end end
  local ok, nodes = pcall(reads, probe)
  known = false
  for _, node in ipairs(ok and nodes or {}) do
    known = known or node.keys.math ~= nil and node.keys.math.keys.pi ~= nil
  end
  if not known then check.fail "identity: the bytecode of this Lua is unknown; Lua 5.4 is needed" end
end

--- What a function written in Lua reads, as the node of each of its upvalues.
---@param f function
---@return table[] nodes
function M.reads(f)
  if not known then check_known() end
  read_before[f] = read_before[f] or reads(f)
  return read_before[f]
end

return M
