-- The terminal: none, and those of several widths.
-- Usage: build/bamlua tests/lua/terminal.lua build/bamlua
local core = require "bam.core"
local expect = require "tests.lua.support.expect"
local test = require "tests.lua.support.test"

test("the width of a terminal is known", function()
  local bamlua = arg[1] or "build/bamlua"

  local function output_of(command)
    local pipe = assert(io.popen(command))
    local text = pipe:read "a"
    pipe:close()
    return text
  end

  local script = os.tmpname()
  core.write_file(script, [[
  local terminal = require "bam.core".terminal()
  print(terminal and "columns " .. terminal.columns or "none")]])
  local ask = ("'%s' %s"):format(bamlua, script)
  expect.equal(output_of(ask .. " 2>/dev/null"), "none\n")
  if output_of(": | timeout 30 script -qec 'echo works' /dev/null 2>&1"):find "works" then
    local sizes = ("stty cols 97; %s; stty cols 41; %s; stty cols 0; %s; %s 2>/dev/null"):format(
      ask, ask, ask, ask)
    local got = output_of((": | timeout 100 script -qec \"%s\" /dev/null 2>&1"):format(sizes))
    expect.equal(got:gsub("\r", ""), "columns 97\ncolumns 41\ncolumns 80\nnone\n", got)
  else
    print "skip: no script(1), or no pseudo-terminals here"
  end
  os.remove(script)
end)
