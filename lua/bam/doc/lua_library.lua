-- Lua's own library, a line a function, for help(): "NAME(parameters) text".
local text = [[
assert(value, message?) Return all arguments; an error if the first is nil or false.
collectgarbage(what?, ...) Run or control the garbage collector; "count" gives its kilobytes. Tensors: see bam.memory.
dofile(path) Run a file, and return its results.
error(message, level?) Raise an error. Level 1, the default, adds the line of the caller of error, 2 the line before it.
getmetatable(value) The metatable of a value, or nil.
ipairs(list) Iterate over list[1], list[2], ... up to the first nil: for i, value in ipairs(list) do
load(text, name?, mode?, env?) Compile text; the function, or nil and a message. Bytecode is refused.
loadfile(path, mode?, env?) Compile a file; the function, or nil and a message.
next(t, key?) The key after `key` in a table, and its value; nil at the end. next(t) == nil tells an empty table.
pairs(t) Iterate over all keys of a table, in no order; over the rows of a tensor: for key, value in pairs(t) do
pcall(f, ...) Call f(...) and catch errors: true and the results, or false and the error.
print(...) Write values to stdout, with tabs between them and a newline.
rawequal(a, b) Are both the same object? Without metamethods.
rawget(t, key) t[key] without metamethods.
rawlen(t) The length of a table or string without metamethods.
rawset(t, key, value) t[key] = value without metamethods.
require(name) Load a module once, and return what it returned.
select(n, ...) The arguments from the n-th on; select("#", ...) is their number.
setmetatable(t, metatable) Set the metatable of a table, and return the table.
tonumber(value, base?) A string or number as a number, else nil. Of a tensor: x:item().
tostring(value) A value as text.
type(value) "nil", "number", "string", "boolean", "table", "function", "thread" or "userdata". See bam.is_tensor.
warn(...) Write a warning to stderr, after warn "@on".
xpcall(f, handler, ...) pcall that calls handler(message) before the stack of the error is gone.
coroutine.close(co) Close a suspended coroutine, with its pending <close> variables.
coroutine.create(f) A coroutine that will run f.
coroutine.isyieldable(co?) Can it yield here?
coroutine.resume(co, ...) Continue a coroutine: true and what it yields or returns, or false and the error.
coroutine.running() The running coroutine, and whether it is the main one.
coroutine.status(co) "running", "suspended", "normal" or "dead".
coroutine.wrap(f) A function that resumes a coroutine of f each time it is called.
coroutine.yield(...) Suspend the coroutine; the results are the arguments of the next resume.
debug.debug() Read and run lines from stdin.
debug.gethook(thread?) The current hook, its mask and count.
debug.getinfo(thread?, f, what?) What is known about a function or a level of the stack: its source, line, name, ...
debug.getlocal(thread?, f, i) The name and value of the i-th local variable at a level of the stack.
debug.getmetatable(value) The metatable, even if it is protected.
debug.getregistry() The registry, in which C keeps values.
debug.getupvalue(f, i) The name and value of the i-th variable that a function uses from around it.
debug.getuservalue(u, n?) The n-th value attached to a userdata.
debug.setcstacklimit(limit) Nothing any more; kept by Lua for old scripts.
debug.sethook(thread?, hook, mask, count?) Call hook on calls, returns, lines or every `count` instructions.
debug.setlocal(thread?, level, i, value) Assign the i-th local variable at a level of the stack.
debug.setmetatable(value, metatable) Set the metatable of any value.
debug.setupvalue(f, i, value) Assign the i-th variable that a function uses from around it.
debug.setuservalue(u, value, n?) Set the n-th value attached to a userdata.
debug.traceback(thread?, message?, level?) The calls on the stack as text.
debug.upvalueid(f, i) An id of a variable from around, to compare.
debug.upvaluejoin(f, i, g, j) Let two functions share a variable from around.
io.close(file?) Close a file, or the default output.
io.flush() Write out what the default output holds.
io.input(file?) Set or return the default input.
io.lines(path?, ...) Iterate over the lines of a file: for line in io.lines(path) do
io.open(path, mode?) Open a file ("r", "w", "a", ...): an object with :read, :write, :close, or nil and a message.
io.output(file?) Set or return the default output.
io.popen(command, mode?) Run a command of the shell, and read its output or write its input.
io.read(...) Read from the default input: "l" a line, "n" a number, "a" everything, or a number of bytes.
io.tmpfile() A temporary file, which is deleted at the end.
io.type(value) "file", "closed file" or nil.
io.write(...) Write strings and numbers to the default output, without separators.
math.abs(x) The absolute value. Of a tensor: x:abs().
math.acos(x) Arc cosine.
math.asin(x) Arc sine.
math.atan(y, x?) Arc tangent of y / x.
math.atan2(y, x) math.atan(y, x), by its old name.
math.ceil(x) The smallest integer that is at least x.
math.cos(x) Cosine.
math.cosh(x) Hyperbolic cosine.
math.deg(x) Radians as degrees.
math.exp(x) The exponential. Of a tensor: x:exp().
math.floor(x) The largest integer that is at most x.
math.fmod(x, y) The remainder of x / y, rounded towards 0.
math.frexp(x) Mantissa and exponent: x = m * 2^e.
math.ldexp(m, e) m * 2^e.
math.log(x, base?) The logarithm, natural by default.
math.log10(x) The decimal logarithm.
math.max(x, ...) The largest of the arguments. Of a tensor: x:max().
math.min(x, ...) The smallest of the arguments. Of a tensor: x:min().
math.modf(x) The integral part and the fraction.
math.pow(x, y) x ^ y.
math.rad(x) Degrees as radians.
math.random(m?, n?) A random float in [0, 1), or an integer from 1 to m, or from m to n. Tensors: bam.rand, bam.randint.
math.randomseed(x?, y?) Seed math.random. The generator of tensors: bam.seed.
math.sin(x) Sine.
math.sinh(x) Hyperbolic sine.
math.sqrt(x) The square root.
math.tan(x) Tangent.
math.tanh(x) Hyperbolic tangent. Of a tensor: x:tanh().
math.tointeger(x) A float without a fraction as an integer, else nil.
math.type(x) "integer", "float" or nil.
math.ult(a, b) Is a below b, as unsigned integers?
os.clock() Processor seconds used so far. Wall-clock time: bam.clock().
os.date(format?, time?) A date as text: os.date "%Y-%m-%d"; "*t" gives a table.
os.difftime(a, b) Seconds from b to a.
os.execute(command?) Run a command of the shell; true or nil, "exit" or "signal", and the code.
os.exit(code?, close?) End the program.
os.getenv(name) An environment variable, or nil.
os.remove(path) Delete a file.
os.rename(from, to) Rename a file.
os.setlocale(locale?, category?) Set or return the locale.
os.time(t?) Seconds since 1970, now or of a table { year =, month =, day =, ... }.
os.tmpname() A name for a temporary file.
package.loadlib(path, name) Load a library of C.
package.searchpath(name, path, sep?, rep?) The file that require would load from a path, or nil and a message.
string.byte(s, i?, j?) The bytes of a string from i to j as numbers.
string.char(...) A string of the bytes with these numbers.
string.dump(f, strip?) A function as bytecode, which bamlua refuses to load.
string.find(s, pattern, init?, plain?) The first and last position of a match, and its captures; nil if there is none.
string.format(format, ...) Values as text, as in C's printf: %d, %s, %g, %.2f, %5d, %q; %% is a percent sign.
string.gmatch(s, pattern, init?) Iterate over all matches: for word in s:gmatch "%a+" do
string.gsub(s, pattern, by, n?) The string with matches replaced by a text or f(match), and how many there were.
string.len(s) The number of bytes, #s.
string.lower(s) In lower case.
string.match(s, pattern, init?) The captures of the first match, or all of it; nil if there is none.
string.pack(format, ...) Values in binary form.
string.packsize(format) The size of what string.pack gives.
string.rep(s, n, sep?) n copies, with a separator between them.
string.reverse(s) Backwards.
string.sub(s, i, j?) From position i to j, both included; negative ones count from the end.
string.unpack(format, s, at?) The values that string.pack packed, and the position after them.
string.upper(s) In upper case.
table.concat(list, sep?, i?, j?) The strings and numbers of a list as one string, with a separator between them.
table.insert(list, at?, value) Insert a value, at the end by default.
table.move(a, i, j, at, b?) Copy a[i] to a[j] to positions from `at` on, of b or of a.
table.pack(...) The arguments as a list, with their number in the field n.
table.remove(list, at?) Remove an entry, the last by default, and return it.
table.sort(list, less?) Sort in place; less(a, b) tells whether a comes first.
table.unpack(list, i?, j?) The entries of a list as several values.
utf8.char(...) A string of the characters with these code points.
utf8.codepoint(s, i?, j?, lax?) The code points of the characters from byte i to j.
utf8.codes(s, lax?) Iterate over the characters: for position, code in utf8.codes(s) do
utf8.len(s, i?, j?, lax?) The number of characters.
utf8.offset(s, n, i?) The position of the n-th character.
]]

local M = {}

local entries

-- Does this Lua have the function? Some of math depend on how it was built.
local function exists(name)
  local value = _G
  for key in name:gmatch "[^.]+" do value = type(value) == "table" and rawget(value, key) end
  return value ~= nil
end

--- All functions of Lua's library, in order: { name, usage, text }.
---@return { name: string, usage: string, text: string }[]
function M.entries()
  if entries then return entries end
  entries = {}
  for line in text:gmatch "[^\n]+" do
    local usage, rest = line:match "^(%S+%b()) (.*)$"
    local name = usage:match "^[^(]+"
    if exists(name) then entries[#entries + 1] = { name = name, usage = usage, text = rest } end
  end
  return entries
end

return M
