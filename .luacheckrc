-- Settings of luacheck (`make lint`; Debian's package lua-check).
std = "lua54"
self = false -- a method need not use its `self`
max_line_length = 120
ignore = {
  "211/cleanup", -- `local cleanup <close>`: being closed is its use
  "581",         -- `not (x <= y)` also holds for NaN, unlike `x > y`
}

files["tests/"] = {
  globals = { "arg", "print" }, -- set by tests that run recipes and examples
  max_line_length = 150,        -- tables of data
  ignore = { "241/kept", "311" }, -- values that are held, and variables that are set to nil, for the collector
}
-- Tests what a function's hash covers: globals, fields of standard tables, _ENV.
files["tests/lua/identity.lua"] = { ignore = { "1..", "211/_ENV", "212" } }
