-- The reference and the sources agree: docs/api is what `make docs` writes now, everything public is documented, the
-- documented parameters and options are those that functions take, and what texts mention exists. Each check is shown
-- to fail for a planted fault.
-- Usage: build/bamlua tests/lua/reference.lua build/bamlua
local bam = require "bam"
local core = require "bam.core"
local comments = require "bam.doc.comment"
local expect = require "tests.lua.support.expect"
local model = require "bam.doc.model"
local native = require "bam.doc.native"
local options = require "tests.lua.support.options"
local source = require "bam.doc.source"
local test = require "tests.lua.support.test"

local PROGRAM = core.absolute(arg[1] or "build/bamlua")
local pages = model.pages()

-- Call visit(entry, class) for every function and method of the reference.
local function each_entry(visit)
  for _, page in ipairs(pages) do
    for _, entry in ipairs(page.functions) do visit(entry) end
    for _, section in ipairs(page.sections) do
      for _, entry in ipairs(section.functions) do visit(entry) end
    end
    for _, class in ipairs(page.classes) do
      if class.call then visit(class.call, class) end
      for _, entry in ipairs(class.methods) do visit(entry, class) end
    end
  end
end

local function run(command)
  local pipe = assert(io.popen(string.format("%s 2>&1", command)))
  local text = pipe:read "a"
  local _, _, code = pipe:close()
  return text, code
end

-- ---- the files ----

test("docs/api is what the sources say; `make docs` writes it", function()
  local text, code = run(string.format("'%s' docs --check docs/api", PROGRAM))
  expect.equal(text, "")
  expect.equal(code, 0)
end)

test("a stale page and a stray one are named", function()
  local directory = os.tmpname()
  os.remove(directory)
  local cleanup <close> = setmetatable({}, { __close = function() os.execute("rm -r " .. directory) end })
  expect.equal(select(2, run(string.format("'%s' docs %s", PROGRAM, directory))), 0)
  expect.equal(run(string.format("'%s' docs --check %s", PROGRAM, directory)), "")
  core.append_file(directory .. "/ops.md", "more\n")
  core.write_file(directory .. "/old.md", "")
  local text, code = run(string.format("'%s' docs --check %s", PROGRAM, directory))
  expect.contains(text, { "ops.md is out of date; type: make docs", "old.md is not part of the reference" })
  expect.equal(code, 1)
end)

test("a public function that is on no page stops the generator", function()
  local script = 'bam = require "bam" bam.planted = function() end'
  local text, code = run(string.format("'%s' -e '%s' docs --check docs/api", PROGRAM, script))
  expect.contains(text, "bam.planted is on no page")
  expect.equal(code, 1)
end)

-- ---- texts and parameters ----

-- What is wrong with the documentation of a function, or nil.
local function fault_of(entry)
  local names = {}
  for i, param in ipairs(entry.comment.params) do
    names[i] = param.name
    if param.type == "" then return string.format("parameter %s has no type", param.name) end
  end
  if #entry.comment.text == 0 then return "no text" end
  local documented, real = table.concat(names, ", "), table.concat(entry.parameters, ", ")
  if not entry.op and documented ~= real then
    return string.format("documented parameters (%s), real ones (%s)", documented, real)
  end
end

test("every function has a text, and its parameters are documented", function()
  each_entry(function(entry) expect.equal(fault_of(entry), nil, entry.path) end)
  for _, entry in ipairs(native.all().functions) do
    expect.yes(#entry.comment.text > 0, entry.usage)
    for _, param in ipairs(entry.comment.params) do
      expect.contains(entry.usage, param.name, "the usage of bam.core." .. entry.name)
    end
  end
end)

test("a missing text and a wrong parameter are found", function()
  local entry = { comment = { text = { "Do." }, params = { { name = "a", type = "any" } } }, parameters = { "b" } }
  expect.contains(fault_of(entry), "documented parameters (a), real ones (b)")
  entry.comment.text = {}
  expect.equal(fault_of(entry), "no text")
end)

test("every C function is documented, and every property of tensors", function()
  for name, value in pairs(core) do
    if type(value) == "function" then expect.yes(native.all().by_function[value], "bam.core." .. name) end
  end
  local fields, properties = {}, debug.getmetatable(bam.zeros(1)).__properties
  for _, field in ipairs(native.fields "tensor") do fields[field.name] = true end
  for name in pairs(properties) do expect.yes(fields[name], "the property " .. name) end
  for name in pairs(fields) do expect.yes(properties[name], "the documented property " .. name) end
end)

test("every method of an object is documented", function()
  local documented = {}
  each_entry(function(entry) documented[entry.path] = true end)
  for variable, object in pairs(options.objects) do
    local metatable = debug.getmetatable(object)
    local methods = rawget(metatable, "__methods") or rawget(metatable, "__index")
    for name, value in pairs(methods) do
      local public = type(value) == "function" and name ~= "init" and not name:find "^_" and variable ~= "module"
      if public then expect.yes(documented[variable .. ":" .. name], variable .. ":" .. name) end
    end
  end
end)

-- ---- types and names ----

-- Everything that the reference names.
local known = { ["bam.core"] = true, ["m"] = true }
each_entry(function(entry) known[entry.path] = true end)
for _, page in ipairs(pages) do
  for _, class in ipairs(page.classes) do
    known[class.path] = true
  end
end
for name in pairs(source.classes()) do known[name] = true end
for _, topic in ipairs(native.all().topics) do known[topic.name] = true end

local BUILTIN = { any = true, boolean = true, integer = true, number = true, string = true, table = true, ["true"] = true,
                  userdata = true, fun = true, ["function"] = true, dtype = true, device = true, ["nil"] = true }

local function is_type(name)
  return BUILTIN[name] or known[name] or source.classes()[name] or native.fields(name) or native.all().types[name]
end

-- The names of types in a type, without those of fields and parameters.
local function unknown_type(kind)
  local text = kind:gsub('"[^"]*"', ""):gsub("[%a_][%w_]*%??:", "")
  for name in text:gmatch "[%a_][%w_.]*" do
    if not is_type(name) then return name end
  end
end

test("every type in the reference exists", function()
  each_entry(function(entry)
    for _, kind in ipairs { "params", "returns" } do
      for _, item in ipairs(entry.comment[kind]) do expect.equal(unknown_type(item.type), nil, entry.path) end
    end
  end)
  for name, class in pairs(source.classes()) do
    for _, field in ipairs(class.fields) do expect.equal(unknown_type(field.type), nil, name) end
  end
  expect.equal(unknown_type "{ a?: bam.Phase, b: fun(x: planted): integer }", "planted")
end)

test("bam.d.lua is Lua", function()
  expect.yes(loadfile("docs/api/bam.d.lua", "t"), "docs/api/bam.d.lua")
end)

test("the dtypes of bam.d.lua are those of tensors", function()
  for name in core.read_file("docs/api/bam.d.lua"):match("@alias dtype ([^\n]*)"):gmatch '"(%w+)"' do
    expect.equal(bam.zeros(1, { dtype = name }).dtype, name)
  end
end)

-- A name that a text mentions and that does not exist: bam.x, nn.X, or a method of a documented object.
local function unknown_name(text)
  for name in text:gmatch "%f[%w.]bam%.[%a_][%w_.]*[%w_]" do
    if not known[name] and not is_type(name) and rawget(bam, name:match "^bam%.(%w+)$") == nil
      and not name:find "^bam%.d" then return name end
  end
  for module, name in text:gmatch "%f[%w.](%a+)%.(%a[%w_]*)" do
    local table_of = rawget(bam, module)
    if (module == "nn" or module == "optim" or module == "schedule" or module == "models")
      and rawget(table_of, name) == nil and not is_type(module .. "." .. name) then
      return module .. "." .. name
    end
  end
  for variable, name in text:gmatch "%f[%w](%a+):(%a[%w_]*)%f[^%w_]" do
    local known_variable = variable == "x" or variable == "m" or variable == "model" or variable == "description"
      or variable == "phase" or variable == "stream" or variable == "source" or variable == "heldout"
    local inherited = (variable == "m" or variable == "model") and known["module:" .. name]
    if known_variable and not known[variable .. ":" .. name] and not inherited
      and not (variable == "x" and core.methods[name]) then return variable .. ":" .. name end
  end
end

test("every name that a text mentions exists", function()
  local function visit(comment, path)
    expect.equal(unknown_name(table.concat(comment.text, " ")), nil, path)
    for _, kind in ipairs { "params", "returns", "fields" } do
      for _, item in ipairs(comment[kind] or {}) do expect.equal(unknown_name(item.text), nil, path) end
    end
  end
  each_entry(function(entry) visit(entry.comment, entry.path) end)
  for _, page in ipairs(pages) do
    visit({ text = page.lines }, page.name)
    for _, class in ipairs(page.classes) do visit(class, class.path) end
  end
  for name, class in pairs(source.classes()) do visit(class, name) end
end)

test("a name that does not exist is found", function()
  expect.equal(unknown_name "see bam.planted, and bam.sum", "bam.planted")
  expect.equal(unknown_name "see nn.Linear and nn.Planted", "nn.Planted")
  expect.equal(unknown_name "x:sum(2), x:planted(2)", "x:planted")
end)

-- ---- options ----

test("documented options are those that functions take", function()
  each_entry(function(entry, class)
    for _, fault in ipairs(options.faults(entry, class)) do expect.equal(fault, nil, entry.path) end
  end)
end)

test("an option that is refused, and one that is not documented, are found", function()
  local check = require "bam.util.check"
  local function planted(given) check.options("planted", given, { real = { "any", optional = true } }) end
  local comment = comments.parse { "Do.", "@param given { wrong?: integer }" }
  local entry = { path = "planted", comment = comment, parameters = { "given" }, value = planted }
  local faults = options.faults(entry)
  table.sort(faults)
  expect.equal(faults, { "option real is not documented", "option wrong is documented, but refused" })
end)

-- ---- examples ----

-- The indented lines of a comment.
local function example_of(comment)
  local lines = {}
  for _, line in ipairs(comment.text) do
    if line:find "^  " then lines[#lines + 1] = line end
  end
  return table.concat(lines, "\n")
end

test("examples are Lua", function()
  each_entry(function(entry)
    expect.yes(load(example_of(entry.comment), "=" .. entry.path, "t"), "the example of " .. entry.path)
  end)
end)
