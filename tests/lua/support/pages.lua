-- The code in pages of documentation, and how tests run it. A block is what stands between ``` lines:
--   ```lua            a script, run with bamlua in an empty directory; a block ```text after it, with only text such as
--                     "prints" between, is what it prints
--   ```lua continued  more of the block before: both run as one script
--   ```lua plan       a recipe, run with --plan
--   ```lua error      raises an error (bam is loaded before); the ```text after it is part of the message
--   ```lua setup      run before each cell of the page's tables: the code in their second column
--   ```lua fragment   not run, but it is valid Lua: a chunk or a table's fields
--   ```console        when it has lines `> ...`: a session, run with bamlua -i
-- Anything else is not looked at. In what is printed "..." stands for any text.
local core = require "bam.core"
local expect = require "tests.lua.support.expect"

local M = {}

local KINDS = { [""] = true, continued = true, plan = true, error = true, fragment = true, setup = true }

-- All blocks of a text: { language, kind, line, text, before }, `before` being the text since the block before.
local function all_blocks(text)
  local blocks, open, between, number = {}, nil, {}, 0
  for line in text:gmatch "([^\n]*)\n" do
    number = number + 1
    local language, kind = line:match "^```(%a*)%s*(%a*)$"
    if open and line:find "^```$" then
      open.text = table.concat(open, "\n") .. "\n"
      blocks[#blocks + 1], open, between = open, nil, {}
    elseif open then
      open[#open + 1] = line
    elseif language then
      open = { language = language, kind = kind, line = number, before = table.concat(between, " ") }
    else
      between[#between + 1] = line
    end
  end
  return blocks
end

-- The code in the second column of tables.
local function second_column(text)
  local cells = {}
  for row in text:gmatch "\n|[^\n|]*|([^\n|]*)|" do
    for code in row:gmatch "`([^`]*)`" do cells[#cells + 1] = code end
  end
  return cells
end

--- A page: { path, text, blocks }, the blocks being those that run, each with `path`, and `output` where it has one.
---@param path string
---@return table
function M.read(path)
  local page = { path = path, text = core.read_file(path), blocks = {} }
  local last
  for _, block in ipairs(all_blocks(page.text)) do
    block.path = path
    if block.language == "text" and last and last.language == "lua" and #block.before < 60 then
      last.output = block.text
    elseif block.language == "lua" and block.kind == "setup" then
      block.cells = second_column(page.text)
      page.blocks[#page.blocks + 1] = block
    elseif block.language == "lua" or block.language == "console" and block.text:find "\n> " then
      if block.kind == "continued" then block.text = last.text .. block.text end
      page.blocks[#page.blocks + 1] = block
    end
    last = block
  end
  return page
end

-- ---- running ----

local function quoted(text) return string.format("'%s'", text:gsub("'", "'\\''")) end

-- What a command prints in an empty directory, and whether it ended well.
local function run_in_scratch(command, input)
  local path = os.tmpname()
  os.remove(path)
  core.make_directory(path)
  local cleanup <close> = setmetatable({}, { __close = function()
    os.execute(string.format("rm -rf %s", quoted(path)))
  end })
  core.write_file(path .. "/.input", input)
  local pipe = io.popen(string.format("cd %s && { %s; } <.input 2>&1", quoted(path), command))
  local output = pipe:read "a"
  return output, pipe:close() == true
end

-- Is `output` what the page shows, where "..." is any text?
local function check_output(block, output, shown)
  local pattern = shown:gsub("[%^%$%(%)%%%.%[%]%*%+%-%?]", "%%%0"):gsub("%%%.%%%.%%%.", ".*"):gsub("[ \t]+\n", "\n")
  if not output:gsub("[ \t]+\n", "\n"):find(string.format("^%s$", pattern)) then
    error(string.format("%s:%d printed\n%s\nbut the page says\n%s", block.path, block.line, output, shown), 0)
  end
end

local function check_error(block, program)
  local output, fine = run_in_scratch(string.format("%s -l bam -", quoted(program)), block.text)
  if fine then error(string.format("%s:%d raised no error", block.path, block.line), 0) end
  expect.contains(output:gsub("%s+", " "), ((block.output or "\n"):gsub("%s+", " "):gsub(" $", "")))
end

local function check_fragment(block)
  local chunk = load(block.text, "=block", "t")
  local fine, message = load(string.format("return {\n%s\n}", block.text), "=block", "t")
  if not chunk and not fine then error(string.format("%s:%d: %s", block.path, block.line, message), 0) end
end

-- A session: the lines after a prompt are typed. Without a terminal bamlua echoes them, so that all it prints is what
-- the page shows, but for the tracebacks of one line that lua5.4 prints and a terminal does not show.
local function check_session(block, program)
  local input = {}
  for typed in block.text:gmatch "\n>>? ([^\n]*)" do input[#input + 1] = typed end
  local output = run_in_scratch(string.format("%s -i", quoted(program)), table.concat(input, "\n") .. "\n")
  output = output:gsub("stack traceback:\n\tstdin:1: in main chunk\n\t%[C%]: in %?\n", "")
  check_output(block, output:gsub("^[^\n]*\n", ""):gsub("> \n$", ""), (block.text:gsub("^%$[^\n]*\n", "")))
end

local CELLS = [[
local setup, cells = %s, { %s }
for _, cell in ipairs(cells) do
  local env = setmetatable({}, { __index = _G })
  assert(load(setup, "=setup", "t", env))()
  local f = load("return " .. cell, "=cell", "t", env) or assert(load(cell, "=cell", "t", env))
  local results = table.pack(pcall(f))
  if not results[1] then error(string.format("%%s: %%s", cell, results[2]), 0) end
end
]]

-- Each cell runs in globals of its own, which the setup makes anew.
local function check_cells(block, program)
  local list = {}
  for i, cell in ipairs(block.cells) do list[i] = string.format("%q", cell) end
  if #list == 0 then error(string.format("%s:%d: no cells", block.path, block.line), 0) end
  local script = string.format(CELLS, string.format("%q", block.text), table.concat(list, ", "))
  local output, fine = run_in_scratch(string.format("%s -", quoted(program)), script)
  if not fine then error(string.format("%s: %s", block.path, output), 0) end
end

--- Run a block as its kind says; raises an error that says what is wrong.
---@param block table
---@param program string
function M.run(block, program)
  if block.language == "console" then return check_session(block, program) end
  if not KINDS[block.kind] then
    error(string.format("%s:%d: no such kind of block: lua %s", block.path, block.line, block.kind), 0)
  end
  if block.kind == "setup" then return check_cells(block, program) end
  if block.kind == "error" then return check_error(block, program) end
  if block.kind == "fragment" then return check_fragment(block) end
  local flags = block.kind == "plan" and " --plan" or ""
  local output, fine = run_in_scratch(string.format("%s - %s", quoted(program), flags), block.text)
  if not fine then error(string.format("%s:%d: %s", block.path, block.line, output), 0) end
  if block.output then check_output(block, output, block.output) end
end

return M
