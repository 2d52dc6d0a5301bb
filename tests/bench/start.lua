--- The cases of starting a process, beside the plain interpreter where it is installed.
local shell = require "tests.bench.shell"

local function starter(program, script)
  local command = string.format("for i in 1 2 3 4 5 6 7 8 9 10; do %s -e %s; done", shell.quote(program),
                                shell.quote(script))
  return function()
    if not os.execute(command) then error(string.format("%s -e %s fails", program, script), 0) end
  end
end

--- The cases, for a program.
---@param program string the path of bamlua
---@return table[]
return function(program)
  local lua = shell.output_of "command -v lua5.4"
  local cases = {}
  for i, script in ipairs { 'require "bam"', "" } do
    cases[i] = {
      title = string.format("start of bamlua -e '%s'", script), per = 10,
      prepare = function() return starter(program, script) end,
      other = lua and { name = "lua5.4 -e ''", step = starter(lua, "") },
    }
  end
  return cases
end
