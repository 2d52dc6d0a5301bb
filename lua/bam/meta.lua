---@meta
--- Declarations of what is written in C, for editors and for help(). Never run. The ops of
--- the registry are not listed: each carries its own text.

---@alias dtype "f32" | "f64" | "bf16" | "f16" | "i32" | "i64" | "u8" | "bool"
---@alias device "cpu" | "cuda" | "cuda:0" | "cuda:1" | string
---@alias options { dtype?: dtype, requires_grad?: boolean, device?: device }

local core, methods = {}, {}

--- A tensor of the numbers or booleans in nested lists, or of a single one. Numbers with a fraction
--- make f32, integers i64, booleans bool, unless options say otherwise. A number that a dtype of integers cannot hold (300 in
--- u8, 1.5 in i64, NaN) is an error, here and wherever a number is written into a tensor; x:to cuts off and saturates.
---@param values number | boolean | table
---@param options? options
---@return tensor
function core.tensor(values, options) end

--- A tensor of zeros: zeros(2, 3) or zeros({2, 3}).
---@param ... integer | integer[] | options the sizes, then perhaps options
---@return tensor
function core.zeros(...) end

--- A tensor of ones: ones(2, 3) or ones({2, 3}).
---@param ... integer | integer[] | options the sizes, then perhaps options
---@return tensor
function core.ones(...) end

--- A tensor whose elements are not set: to be written before it is read.
---@param ... integer | integer[] | options the sizes, then perhaps options
---@return tensor
function core.empty(...) end

--- A tensor filled with one value: full({2, 3}, 0.5).
---@param sizes integer[]
---@param value number
---@param options? options
---@return tensor
function core.full(sizes, value, options) end

--- The numbers of a `for` loop, both ends included: arange(last), arange(first, last),
--- arange(first, last, step); without `first` from 1. i64 when all of them are integers, exactly; else f32, of the values
--- first + i * step computed in f64. Of these, the ones up to `last` are taken; one that differs from `last` by at most
--- 2^-50 * max(|first|, |last|), which rounding alone can do, counts as `last` and becomes it: arange(0, 0.3, 0.1) has 4.
---@param ... number | options one to three numbers, then perhaps options
---@return tensor
function core.arange(...) end

--- `count` numbers at equal distances, both ends included: first + i * (last - first) / (count - 1), computed in f64 and
--- rounded once; the last is `last` itself. A dtype of integers takes whole numbers exactly and cuts off fractions.
---@param first number
---@param last number
---@param count integer
---@param options? options
---@return tensor
function core.linspace(first, last, count, options) end

--- The identity matrix.
---@param size integer
---@param options? options
---@return tensor
function core.eye(size, options) end

--- Random numbers, uniform from 0 to 1.
---@param ... integer | integer[] | options the sizes, then perhaps options
---@return tensor
function core.rand(...) end

--- Random numbers of the normal distribution with mean 0 and variance 1.
---@param ... integer | integer[] | options the sizes, then perhaps options
---@return tensor
function core.randn(...) end

--- Random integers, both ends included: randint(1, 6, 10) throws ten dice.
---@param low integer
---@param high integer
---@param ... integer | integer[] | options the sizes, then perhaps options
---@return tensor
function core.randint(low, high, ...) end

--- The positions 1 to n in random order: x[bam.randperm(#x)] shuffles.
---@param n integer
---@param options? options the dtype is i64 or i32
---@return tensor
function core.randperm(n, options) end

--- The bytes of a string, as a u8 tensor.
---@param text string
---@return tensor
function core.bytes(text) end

--- Calls a function and releases every tensor born meanwhile, except those that it returns (also
--- inside tables) or keeps with x:keep(). Arguments after the function are passed to it.
---@param f function
---@return any ... what f returns
function core.scope(f, ...) end

--- Writes tensors to a safetensors file; the file appears complete or not at all.
---@param path string
---@param tensors table<string, tensor>
---@param metadata? table<string, string>
function core.save(path, tensors, metadata) end

--- Reads a safetensors file, all of it or the tensors named.
---@param path string
---@param names? string[]
---@return table<string, tensor> tensors by name
---@return table<string, string> metadata
function core.load(path, names) end

--- Opens a safetensors file whose tensors stay in it until they are read. Reading fails when the file
--- was changed since.
---@param path string
---@param what? string what errors begin with
---@return table<string, bam.StoredTensor> tensors by name
---@return table<string, string> metadata
function core.open_tensors(path, what) end

---@class bam.StoredTensor
---@field shape integer[]
---@field dtype string
local stored = {}

--- The tensor, or a part of it: the positions first to last of its first dimension.
---@param first? integer
---@param last? integer
---@return tensor
function stored:read(first, last) end

--- As the tensor's methods of these names; all of it is read for them.
function stored:slice(dim, first, last) end
function stored:totable() end

--- Writes a tensor to a NumPy file.
---@param path string
---@param x tensor
function core.save_npy(path, x) end

--- Reads a tensor from a NumPy file.
---@param path string
---@return tensor
function core.load_npy(path) end

--- The value of a JSON text; bam.json is the module to use, and says more.
---@param text string
---@return any
function core.json_decode(text) end

--- The JSON text of a value; bam.json is the module to use, and says more.
---@param value any
---@param indent? integer
---@return string
function core.json_encode(value, indent) end

--- An encoder of byte pair encoding; bam.tokenizer is the module to use, and says more. It has
--- bpe:encode(text, special), bpe:append(text, buffer, special), bpe:decode(ids), bpe:find(word).
---@param parts table label (string), words, patterns (lists of strings), merges, special, always
--- (lists of integers), whole_words (boolean)
---@return userdata
function core.bpe(parts) end

--- A trainer of byte pair encoding; bam.tokenizer is the module to use. trainer:add(text) learns
--- from a text, trainer:train(vocab) gives the words and a flat list of the pairs of ids merged.
---@param parts { label: string, patterns: string[], special: string[] }
---@return userdata
function core.bpe_trainer(parts) end

--- A growing list of token ids: buffer:push(id) appends one, #buffer is their number, and
--- buffer:take() gives them as an i32 tensor and empties the list.
---@return userdata
function core.token_buffer() end

--- Is there a directory at this path, or a link to one?
---@param path string
---@return boolean
function core.is_directory(path) end

--- The names in a directory, sorted by their bytes.
---@param path string
---@return string[]
function core.list_directory(path) end

--- Makes a directory, and those that it is in. One that is there already is fine.
---@param path string
function core.make_directory(path) end

--- Makes a new, empty directory beside `path`, to be filled and then committed or discarded. What
--- `path` is in is made too.
---@param path string where it is to appear
---@return string staged the path to write into
function core.stage_directory(path) end

--- Lets a staged directory appear at `path`, in one step. A directory that is there is replaced and
--- deleted, but only when all it holds are *.json and *.safetensors files that are also in the new
--- one, or a model's weights by their names: another number of shards replaces them all.
---@param staged string what stage_directory gave
---@param path string
function core.commit_directory(staged, path) end

--- Deletes a staged directory and the files in it.
---@param staged string what stage_directory gave
function core.discard_directory(staged) end

--- The contents of a file.
---@param path string
---@param limit? integer how many bytes it may have, 100 million unless given
---@return string
function core.read_file(path, limit) end

--- Writes a file, or replaces one; it appears complete or not at all.
---@param path string
---@param text string
function core.write_file(path, text) end

--- The paths that match a pattern (* ? and [...] as in a shell), sorted by their bytes. A pattern
--- that is itself a path finds that. A directory that is missing or cannot be read is an error.
---@param pattern string
---@return string[]
function core.glob(pattern) end

--- What is at a path, or what a link there leads to; nil when there is nothing.
---@param path string
---@return { kind: "file"|"directory"|"other", size: integer, modified: number, inode: integer }?
function core.file_info(path) end

--- The path from the root, without links, "." and ".."; what is not there is taken as written.
---@param path string
---@return string
function core.absolute(path) end

--- Lets a symbolic link appear at `path`, in one step. Another link there is replaced, anything
--- else is an error.
---@param target string what it leads to, as seen from the link
---@param path string
function core.link(target, path) end

--- Appends to a file, or makes it, in one write; on a full disk nothing is appended.
---@param path string
---@param text string
function core.append_file(path, text) end

--- Cuts a file to its first bytes.
---@param path string
---@param size integer at most as many as it has
function core.truncate_file(path, size) end

--- Deletes a file or link. When there is nothing, that is fine.
---@param path string
function core.remove_file(path) end

--- The name that a temporary name beside it stands for ("step-00000004"), nil when it is none.
---@param name string without directory
---@return string?
function core.staged_for(name) end

--- Renames a file or directory to PATH.set-aside, or PATH.set-aside-2 and so on.
---@param path string
---@return string aside its new path
function core.set_aside(path) end

--- Waits until a file is on the disk.
---@param path string
function core.sync_file(path) end

--- Deletes a directory and the files in it, provided that these are all that is in it.
---@param path string
function core.remove_directory(path) end

--- Deletes what processes that are gone left half-written in a directory, under names ending in .tmp-
--- and 16 digits (engine/staged.h). What is being written, by whomever, stays.
---@param directory string
---@return integer count how many there were
function core.remove_staged(directory) end

--- Puts off Ctrl-C, SIGTERM, SIGHUP and SIGPIPE: from now on the first of them is only noted, for
--- pending_signal, and a second one ends the process (but for SIGPIPE, which comes at every write). `false` restores what was before and forgets what was noted.
--- The end of the script, or of the statement in the REPL, does so too.
---@param on boolean
---@return boolean before whether they were put off
function core.defer_signals(on) end

--- The signal that has come since defer_signals(true).
---@return "SIGINT"|"SIGTERM"|"SIGHUP"|"SIGPIPE"|nil
function core.pending_signal() end

--- Calls f(...) so that Ctrl-C raises "interrupted!" before f begins or after it has returned, never
--- inside it.
---@param f function
---@return any ... what f returns
function core.uninterrupted(f, ...) end

--- pcall for errors that are foreseen: Ctrl-C is not caught, but ends the caller too.
---@param f function
---@return boolean fine
---@return any ... what f returns, or the error
function core.try(f, ...) end

--- The terminal that stderr is, as it is now; nil when it is none.
---@return { columns: integer }?
function core.terminal() end

---@class bam.Lock
local lock = {}

--- Takes the lock of a file, which is made when it is missing, or says who has it. A process that
--- ends, however it does, lets go of its locks; the file stays. A file that holds anything but the
--- line of a lock, and a symbolic link, are errors: nothing of anybody's is overwritten.
---@param path string
---@return bam.Lock? lock to be kept as long as it is needed
---@return string? holder "process 1234 on host h, since 2026-11-24 12:00:01 UTC", when there is one
function core.lock(path) end

--- Lets go of the lock. Doing it again is fine.
function lock:release() end

---@class bam.TextReader
local reader = {}

--- Opens a text file for reading its documents one after the other, in bounded memory: JSON lines
--- (.jsonl, .ndjson, .json), where each line's object holds one, or plain text, either perhaps as
--- .gz or .zst. In plain text a line of the separator, perhaps with blanks after it, ends a
--- document. What is wrong with the file is an error that names path and line; so is a file whose
--- name and contents do not agree, unless `format` says what it is. With skip_bad lines of JSON that
--- hold no document are counted and skipped.
---@param path string
---@param options? { field?: string, separator?: string, format?: "jsonl"|"text", skip_bad?: boolean
--- } "text" and "<|endoftext|>" unless given; "doc.text" is a field within a field
---@return bam.TextReader
function core.text_open(path, options) end

--- The next document that is not empty, or nil at the end. After an error the reader is closed.
---@return string? text any bytes
---@return integer? line where it begins
---@return true? continues a plain text of more than 16 MB comes in parts, and this is not the last
function reader:next() end

--- How many records were skipped so far, and what was wrong with the first.
---@return integer count
---@return string? fault with path and line
function reader:skipped() end

--- Closes the file. Closing again is fine.
function reader:close() end

--- What the name of a text file says, whatever its case.
---@param path string
---@return "jsonl"|"json"|"text" format
---@return ""|".gz"|".zst" packing
function core.text_name(path) end

--- Windows of a long row of tokens, as training reads them: four i64 tensors of shape (B, T), a row
--- for each start. Beyond the end of the tokens ids are 0 and targets -100.
---@param tokens tensor|bam.StoredTensor i32, shape (n)
---@param documents tensor|bam.StoredTensor i64: the offsets, from 0, at which documents begin in
--- `tokens`
---@param starts integer[] the offsets, from 0, at which windows begin
---@param time integer T, the tokens of a window
---@return tensor ids
---@return tensor targets the token after each
---@return tensor documents from 1 in each row, one more where a document begins, and at the end
---@return tensor positions from 0 in each document, or from where the row begins
function core.pack_windows(tokens, documents, starts, time) end

--- The hash of a string, 128 bits of XXH3: as good as unique, but no defence against somebody who
--- wants two strings to collide.
---@param text string
---@return string digits 32 hexadecimal ones
function core.hash(text) end

--- The lower 64 bits of the same hash.
---@param text string
---@return integer
function core.hash64(text) end

--- The hash of a file's contents: hash(read_file(path)), for a file of any size.
---@param path string
---@return string digits
function core.hash_file(path) end

--- The hash of a tensor's elements, one after the other as they lie in memory; neither shape nor
--- dtype counts.
---@param x tensor
---@return string digits
function core.hash_tensor(x) end

--- Starts the random numbers anew: the same seed gives the same numbers, with any number of
--- threads.
---@param seed integer
function core.seed(seed) end

--- Sets the number of threads that kernels use, or only tells it.
---@param count? integer 1 to 1024
---@return integer count
function core.threads(count) end

--- Counters of the engine's memory: bytes `live`, `peak` and `reserved`; `objects` that live;
--- `requests` for memory, and `system_requests`, those of them that the system had to serve. Of one
--- device, only bytes `live` and `reserved`.
---@param device? device all of them together when left out
---@return table<string, integer>
function core.memory(device) end

--- Chooses the device where new tensors go that name none, or only tells it.
---@param name? device
---@return device
function core.device(name) end

--- The devices of this machine, and for each kind that has none, why: `cuda = "..."`.
---@return { name: device, description: string, memory?: integer }[]
---@return table<string, string>
function core.devices() end

--- Waits until all work on a device is done; what failed there is raised here.
---@param device? device the one where new tensors go when left out
function core.synchronise(device) end

--- Allows devices to compute products of f32 numbers from their first 10 bits behind the point,
--- several times as fast, or forbids it; or only tells. Forbidden at first.
---@param allow? boolean
---@return boolean
function core.tf32(allow) end

--- Seconds of a clock that never goes back, for measuring how long something takes.
---@return number
function core.clock() end

--- Waits so many seconds, or until a signal comes.
---@param seconds number
function core.sleep(seconds) end

--- Has the program call `f` when the script has ended without an error; an error in f is then the
--- script's.
---@param f function
function core.at_end(f) end

--- The instruction set that the CPU kernels use: "baseline", "avx2" or "avx512".
---@return string
function core.isa() end

--- The library that computes matrix products on the CPU and the kernels it has chosen, such as
--- "OpenBLAS SkylakeX". They are chosen by the CPU's features; OPENBLAS_CORETYPE overrides that.
---@return string
---@return boolean lag do they use a lesser instruction set than bam.isa()?
function core.products() end

--- Measures the CPU's peak: the FLOP/s of f32 multiply-adds of all threads, when nothing waits for
--- memory. Takes some milliseconds.
---@return number
function core.peak() end

--- The gradients of x with respect to every leaf that it depends on are added to their `grad`.
---@param x tensor
---@param seed? tensor the gradient of x; may be left out when x has one element
---@param options? { retain: boolean, within: boolean } retain = true keeps the tape for another backward; within = true, in
--- the backward of a custom op, leaves what was recorded before it to the backward that called it
function core.backward(x, seed, options) end

--- The only element, as a number or boolean.
---@return number | boolean
function methods:item() end

--- The elements as nested lists, in a 0-d tensor the element itself.
---@return table | number | boolean
function methods:totable() end

--- One size: x:size(1) is #x, x:size(-1) the last.
---@param dim integer
---@return integer
function methods:size(dim) end

--- The number of elements.
---@return integer
function methods:count() end

--- The same elements without a gradient: it shares storage with x.
---@return tensor
function methods:detach() end

--- Do the elements lie one behind the other, in row-major order?
---@return boolean
function methods:is_contiguous() end

--- Overwrites the elements with those of another tensor, broadcast, or with a number.
---@param from tensor | number
---@return tensor self
function methods:copy_(from) end

--- Takes the tensor out of the scopes that would release it, with what the backward functions of custom ops and
--- checkpoints before it need.
---@return tensor self
function methods:keep() end

--- Releases the tensor now. Using it later is an error, closing it again is not. While something uses it, as in a
--- finaliser, its memory is released right after that.
function methods:close() end

--- Are both the same elements in memory, with the same shape, strides and dtype?
---@param other tensor
---@return boolean
function methods:same(other) end
