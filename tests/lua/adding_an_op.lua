-- docs/adding-an-op.md: its code compiles without warnings where the page says it stands, and computes what it says. The
-- op with a backward of its own is loaded as a shared object, over the engine of this program. The function of each
-- element is compiled in a copy of the sources, and its kernels are called on numbers.
-- Usage: build/bamlua tests/lua/adding_an_op.lua
local bam = require "bam"
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

if os.getenv "ASAN_OPTIONS" then
  test("the code of the page", function() test.skip "a program under ASan cannot load what is compiled without it" end)
  return
end

local ROOT = core.absolute "."
local DIR = os.tmpname()
os.remove(DIR)

local function sh(format, ...)
  local command = string.format(format, ...)
  local pipe = assert(io.popen(string.format("{ %s; } 2>&1 && echo succeeded", command)))
  local output = pipe:read "a"
  pipe:close()
  expect.matches(output, "succeeded\n$", command)
end

local function write(path, text)
  local file = assert(io.open(string.format("%s/%s", DIR, path), "w"))
  file:write(text)
  file:close()
end

-- The blocks of the page by the file they stand in.
local function blocks()
  local found = {}
  for path, code in core.read_file("docs/adding-an-op.md"):gmatch "```c ([^\n]*)\n(.-)```" do found[path] = code end
  return found
end

local BLOCKS = blocks()
local CC = [[cc -std=c11 -D_GNU_SOURCE -O1 -fopenmp -Wall -Wextra -Wshadow -Werror -fno-math-errno -fno-trapping-math \
$(pkg-config --cflags lua5.4)]]

-- Compile a C module for Lua and load it.
local function load_module(name, flags, code)
  write(name .. ".c", code)
  sh("%s %s -fPIC -shared -I %s -o %s/%s.so %s/%s.c", CC, flags, ROOT, DIR, name, DIR, name)
  return assert(package.loadlib(string.format("%s/%s.so", DIR, name), "luaopen_" .. name))()
end

sh("mkdir -p %s && cp -r kernels engine %s", DIR, DIR)

local OUTER = [[
#include "engine/ops/outer.c"
#include "lua/bind/bind.h"

static int outer(lua_State *L) {
  bam_tensor *inputs[] = { bind_test_tensor(L, 1), bind_test_tensor(L, 2) };
  bind_apply(L, "outer", &bam_op_outer, inputs, 2, NULL);
  return 1;
}

int luaopen_outer(lua_State *L);
int luaopen_outer(lua_State *L) {
  lua_pushcfunction(L, outer);
  return 1;
}
]]

write("engine/ops/outer.c", BLOCKS["engine/ops/outer.c"])
local outer = load_module("outer", "", OUTER)

test("the op with a backward of its own: values, also of strided vectors", function()
  local a, b = bam.tensor { 1, 2, 3 }, bam.tensor { { 5, 0 }, { 7, 0 } }
  expect.equal(outer(a, b:select(2, 1)), bam.tensor { { 5, 7 }, { 10, 14 }, { 15, 21 } })
  expect.equal(outer(bam.zeros { 0 }, bam.ones { 2 }).shape, { 0, 2 })
end)

test("the op with a backward of its own: gradients", function()
  bam.seed(1)
  local a = bam.randn(4, { dtype = "f64", requires_grad = true })
  local b = bam.randn(3, { dtype = "f64", requires_grad = true })
  expect.yes(bam.gradcheck(function(x, y) return outer(x, y):sin():sum() end, { a, b }), "gradcheck")
  expect.yes(bam.gradcheck(function(x) return outer(x, x):sin():sum() end, { a }), "gradcheck of outer(x, x)")
end)

test("the op with a backward of its own: errors", function()
  local v = bam.ones { 2 }
  expect.raises("outer: takes two vectors, not tensors of 2 and 1 dimensions", outer, bam.ones { 2, 2 }, v)
  expect.raises('outer: a is f32 and b is f64; convert one: b:to "f32"', outer, v, v:to "f64")
  expect.raises("outer: argument `b` is missing", outer, v)
end)

-- Put `lines` into the copy of `path`, after the line that matches, or at the end.
local function insert(path, after, lines)
  local text = core.read_file(path)
  local _, stop = text:find(after or "$")
  expect.yes(stop, string.format("a line %s of %s", after, path))
  write(path, string.format("%s%s%s", text:sub(1, stop), lines, text:sub(stop + 1)))
end

test("the function of each element: three files, which compile", function()
  insert("kernels/unary_list.h", "#define BAM_UNARY_FUNCTIONS[^\n]*\n", BLOCKS["kernels/unary_list.h"])
  insert("engine/ops/list.h", "#define BAM_OPS[^\n]*\n", BLOCKS["engine/ops/list.h"])
  insert("engine/ops/unary.c", nil, BLOCKS["engine/ops/unary.c"])
  for _, file in ipairs { "kernels/cpu/unary.c", "kernels/cpu/table.c", "engine/ops/unary.c", "engine/ops/ops.c" } do
    sh("cd %s && %s -DBAM_ISA=baseline -DBAM_TYPE=f32 -DBAM_TYPE_f32 -c -o object.o %s", DIR, CC, file)
  end
  sh("nm %s/object.o | grep -q bam_op_softsign", DIR)
end)

local SOFTSIGN = [[
#include "kernels/cpu/unary.c"

#include <lauxlib.h>

static int apply(lua_State *L) {
  const bam_loop one = { .ndim = 1, .size = { 1 } };
  double x = luaL_checknumber(L, 1), dy = luaL_checknumber(L, 2), y, dx;
  KERNEL(softsign)(NULL, &one, &y, &x);
  KERNEL(softsign_backward)(NULL, &one, &dx, &dy, &x);
  lua_pushnumber(L, y);
  lua_pushnumber(L, dx);
  return 2;
}

int luaopen_softsign(lua_State *L);
int luaopen_softsign(lua_State *L) {
  lua_pushcfunction(L, apply);
  return 1;
}
]]

test("the function of each element: values and gradients of its kernels", function()
  local softsign = load_module("softsign", "-DBAM_ISA=page -DBAM_TYPE=f64 -DBAM_TYPE_f64", SOFTSIGN)
  for _, x in ipairs { -3, -0.5, 0.25, 4 } do
    local y, dx = softsign(x, 2)
    local above, below = softsign(x + 1e-5, 0), softsign(x - 1e-5, 0)
    expect.close(y, x / (1 + math.abs(x)), 1e-15)
    expect.close(dx, 2 * (above - below) / 2e-5, 1e-8)
  end
end)

sh("rm -r %s", DIR)
