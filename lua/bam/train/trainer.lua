-- Trains a phase: finds its newest checkpoint, resumes, saves checkpoints, and stops cleanly.
local check = require "bam.util.check"
local checkpoint = require "bam.model.checkpoint"
local codec = require "bam.model.codec"
local continued = require "bam.train.continued"
local core = require "bam.core"
local diagnose = require "bam.train.diagnose"
local evaluate = require "bam.train.evaluate"
local flags = require "bam.util.flags"
local guard = require "bam.train.guard"
local skip_guard = require "bam.train.skip_guard"
local json = require "bam.util.json"
local loop = require "bam.train.loop"
local machine = require "bam.train.machine"
local manifest = require "bam.train.manifest"
local metrics = require "bam.train.metrics"
local pinned = require "bam.train.pinned"
local precision = require "bam.train.precision"
local profiling = require "bam.train.profiling"
local progress = require "bam.train.progress"
local recheck = require "bam.train.recheck"
local regime = require "bam.train.regime"
local start = require "bam.train.start"
local tuning = require "bam.train.tuning"
local atomic_dir = require "bam.util.atomic_dir"
local checkpoints = require "bam.train.checkpoints"

local SAVE_SECONDS = 60

-- Stop for a reason that is not an error of the script: the message needs no traceback.
local function stop(format, ...)
  error(setmetatable({ message = string.format(format, ...) }, { __name = "stopped",
    __tostring = function(self) return self.message end }), 0)
end

-- ---- beginning ----

-- The seed of random numbers in a phase; it differs from the seeds of the phases it builds on.
local function seed_of(phase) return phase.seed + 1000003 * phase.generation end

-- A model takes the text's tokenizer. If it has one already, the two must be the same.
local function check_tokenizer(phase, model, data)
  local own = data.text and data.text.tokenizer:json()
  if own and model.tokenizer_json and not codec.same(model.tokenizer_json, own) then
    check.fail("train: phase %s: the model and the text have different tokenizers; give the model's to the text: "
               .. 'bam.corpus({ ... }, { tokenizer = "MODEL/tokenizer.json" })', phase.name)
  end
  model.tokenizer_json = model.tokenizer_json or own
end

local function build(phase, o)
  local d = o.description
  if o.start.build then return o.start.build(d) end
  return d:build { seed = not d.seed and seed_of(phase) or nil }
end

local function identity()
  local now = machine.identity()
  now.algorithms = tuning.describe()
  return now
end

-- The state of a new run.
local function fresh_state(phase, o)
  local state = continued.state(o.start)
  core.seed(seed_of(phase))
  state.random = state.random or core.random_state()
  state.rows, state.machine, state.parents = o.rows, identity(), start.parents(o.start)
  return state
end

-- A parent phase may have been trained again since, on another machine. Warn, because the weights that this phase
-- started from can no longer be reproduced.
local function check_parents(run)
  local known = run.state.parents or {} -- version 0.1.0 kept none
  for _, parent in ipairs(run.o.start.phases) do
    if known[parent.name] and parent:finished() and not manifest.is_of(known[parent.name], parent:manifest()) then
      run.progress:say("%s: it started from weights of phase %s that have been replaced since",
                       run.phase.name, parent.name)
    end
  end
end

-- Bits depend on these. A run that moved to another machine continues with a warning.
local function check_machine(run, state)
  local now = identity()
  if state.rows ~= run.o.rows then
    run.progress:say("%s: it started with micro-batches of %s rows and keeps this size", run.phase.name,
                     tostring(state.rows))
  end
  for _, name in ipairs { "device", "tf32", "isa", "products", "algorithms", "threads" } do
    local before = state.machine[name] -- nil in phases written before this was recorded
    if before ~= nil and before ~= now[name] then
      run.progress:say("%s: its last checkpoint was made with %s %s, and it continues with %s; its last bits may "
                       .. "differ", run.phase.name, name, tostring(before), tostring(now[name]))
    end
  end
  state.machine = now
end

-- A device that only stores a dtype cannot train in it.
local function check_dtype(phase, o)
  local device = core.device()
  if precision.fits(o.dtype, device) then return end
  stop("train: phase %s is to be computed in %s, and %s does not compute in it: take %s, --device cuda, or "
       .. "--dtype f32, which is another phase; --plan describes it without training", phase.name, o.dtype,
       tostring(device), precision.device(o.dtype))
end

-- Create everything that lives while a phase trains, from the checkpoint `found` or from scratch. Changes nothing on
-- disk.
local function open_run(phase, o, found)
  local run = { phase = phase, o = o, place = phase:directory(), owner = phase:owner() }
  run.state = found and found.state or fresh_state(phase, o)
  run.owner.parents = run.state.parents
  local first = run.state.step + 1
  run.model = found and checkpoint.restore(o.description, found.directory) or build(phase, o)
  check_tokenizer(phase, run.model, o.data)
  precision.apply(run.model, o.dtype)
  run.optimizer = o.optimizer:make(run.model)
  if found then
    run.optimizer:load_state(checkpoints.tensors(found))
  else
    continued.load_optimizer(o.start, run.optimizer)
  end
  run.stream = o.data:open { context = o.context, batch = o.batch, steps = phase.steps,
                             seed = seed_of(phase) }
  run.health = skip_guard.new({ max_grad_ratio = o.max_grad_ratio, clip = o.clip, vocab = o.description.vocab },
                              run.state.health)
  run.first, run.clock, run.saved = first, core.clock(), core.clock()
  run.lr = pinned.schedule("option lr", o.lr, phase.steps)
  run.check_knobs = pinned.knobs(o.description, phase.steps)
  run.check_code, run.check_bam = guard.fixed(o.description, run.model, o.optimizer.definition)
  run.gap = (o.on_step or o.on_eval) and guard.gap(run.model, run.optimizer, o.description)
  core.random_state(run.state.random)
  return run
end

-- Open the log and the display, and warn about differences between then and now.
local function begin(run, found)
  run.metrics = metrics.open(run.place, run.state.step)
  run.progress = progress.new(run.phase, run.first)
  if found then
    check_machine(run, run.state)
    check_parents(run)
  end
end

-- ---- during ----

local function save(run, done)
  run.check_bam()
  tuning.flush()
  local state, now = run.state, core.clock()
  state.algorithms = tuning.record()
  state.seconds, run.clock = state.seconds + now - run.clock, now
  state.random, state.health, state.done = core.random_state(), run.health.state, done
  state.metrics = run.metrics:seal()
  for _, name in ipairs { "seed", "generation", "batch", "context" } do state[name] = run.phase[name] end
  checkpoints.save(run.place, run.model, run.optimizer:state(), state, run.owner)
  run.saved = core.clock()
end

local function is_finite(x) return x == x and math.abs(x) < math.huge end

-- The figures of an evaluation for the log, without its windows.
local function brief(result)
  local perplexity, bits = {}, {}
  for name, d in pairs(result.domains) do
    perplexity[name], bits[name] = d.perplexity, d.bits_per_byte
  end
  return { perplexity = perplexity, bits_per_byte = bits, average = result.average.perplexity }
end

-- The seed of the random numbers that user code draws between two steps, as a function of the step.
local function seed_between(run)
  return core.hash64(string.format("%d/%d", seed_of(run.phase), run.state.step)) & 0x7fffffff
end

local function evaluate_now(run)
  local o, state = run.o, run.state
  local result = guard.evaluate(run.model, seed_between(run), function()
    return evaluate.evaluate(run.model, o.data.text.heldout,
                             { context = o.context, tokens = o.eval_tokens, domains = o.data.names })
  end)
  local figures = brief(result)
  run.metrics:add { step = state.step, eval = json.finite(figures) }
  run.progress:say("%s  step %d of %d  held-out perplexity %.3f", run.phase.name, state.step,
                   run.phase.steps, figures.average)
  if not is_finite(figures.average) then
    run.progress:say("%s  step %d: the training has diverged; lower the learning rate", run.phase.name, state.step)
  end
  if is_finite(figures.average)
    and (not state.best or figures.average < state.best.average) then
    state.best = { step = state.step, average = figures.average }
    checkpoints.save_best(run.place, run.model, state.best, run.owner)
  end
  if o.on_eval then guard.call("on_eval", o.on_eval, result, run.model, seed_between(run)) end
end

-- Evaluate every `eval_every` steps and at the end, but not shortly before the end.
local function evaluation_is_due(run, step)
  local every, left = run.o.eval_every, run.phase.steps - step
  if every == 0 or not run.o.data.text then return false end
  return left == 0 or step % every == 0 and 2 * left > every
end

local function log(run, record)
  local state = run.state
  local line = { step = state.step, tokens_per_second = record.tokens_per_second,
                 skipped = record.skipped }
  for _, name in ipairs { "loss", "lr", "norm", "load_balance", "z_loss" } do
    line[name] = record[name] and is_finite(record[name]) and record[name] or nil
  end
  line.routing = #record.routing > 0 and record.routing or nil
  run.metrics:add(line)
  run.progress:update(state.step, record.loss)
end

-- End a failed run, and tell the user what to do.
local function give_up(run, why)
  run.metrics:flush()
  local step = checkpoints.steps(run.place)[1]
  local kept = step and string.format("Its last checkpoint, %s, is at step %d",
                                      checkpoints.directory_of(run.place, step), step)
  stop("%s stopped at step %d: %s. Running it again would stop at the same step; use a lower learning rate or another "
       .. "seed, which train from step 1. %s", run.phase.name, run.state.step, why,
       kept or "It has no checkpoint yet")
end

-- Describe where a non-finite value arose, as the end of a sentence.
local function origin(run, record)
  if is_finite(record.loss) and is_finite(record.norm) then return "" end
  local batch = run.stream:batch(run.state.step, 1, run.o.batch)
  local place = diagnose.find(run.model, batch, record.loss)
  return place and string.format("; %s", place) or ""
end

local function complain(run, record)
  record.skipped = string.format("%s%s", record.skipped, origin(run, record))
  run.progress:say("%s  step %d was skipped: %s", run.phase.name, run.state.step, record.skipped)
  if record.stop then
    give_up(run, string.format("%s, as in the two steps before", record.skipped))
  end
end

-- The final weights must be good too, and no later step has tested the weights of the last one.
local function check_end(run)
  local before <const> = core.random_state()
  local batch = run.stream:batch(run.phase.steps, 1, run.o.batch)
  local fault = run.health:fault_of_loss(loop.loss(run.model, batch, run.state.rows))
  core.random_state(before)
  if fault then give_up(run, string.format("after the last step %s", fault)) end
end

local function leave_if_signalled(run)
  local signal = core.pending_signal()
  if not signal then return end
  if not run.state.done then save(run) end
  stop("%s: %s is saved at step %d of %d. To resume type: %s", signal, run.phase.name,
       run.state.step, run.phase.steps, flags.command())
end

-- Save every `save_every` steps, or once a minute, but never within a series of skipped steps: if the series ends the
-- run, resuming must repeat it from the beginning.
local function save_is_due(run, step)
  if run.health.state.in_a_row > 0 then return false end
  local every = run.o.save_every
  if every then return step % every == 0 end
  return core.clock() - run.saved > SAVE_SECONDS
end

-- After each step.
local function after(run, step, record)
  local o, state, now = run.o, run.state, core.clock()
  tuning.flush()
  record.step, state.step = step, step
  record.tokens_per_second = run.phase.step_tokens / math.max(now - run.ticked, 1e-9)
  log(run, record)
  run.check_knobs(step, run.model.reached)
  if record.skipped then complain(run, record) end
  if o.on_step then guard.call("on_step", o.on_step, record, run.model, seed_between(run)) end
  local last = step == run.phase.steps
  if evaluation_is_due(run, step) then evaluate_now(run) end
  if save_is_due(run, step) and not last then save(run) end
  leave_if_signalled(run)
  if run.gap then run.gap:begin() end
  run.ticked = core.clock()
end

-- Call a function when a block is left, by any path.
local function finally(f) return setmetatable({}, { __name = "finally", __close = f }) end

-- The function that computes a step: with the checks of option audit_every, and recorded with --profile.
local function around(run)
  local rechecked = run.o.audit_every and recheck.new(run.o.audit_every, run)
  local profiled = run.profiling
  if not rechecked and not profiled then return nil end
  return function(step, compute)
    local function checked()
      if rechecked then return rechecked:step(step, compute) end
      return compute()
    end
    if profiled then return profiled:step(step, checked) end
    return checked()
  end
end

-- Train the steps from run.first to `last`.
local function run_steps(run, last, after_step)
  loop.run {
    model = run.model, optimizer = run.optimizer, stream = run.stream, lr = run.lr,
    clip = run.o.clip, first = run.first, steps = run.phase.steps, last = last,
    batch = run.o.batch, rows = run.state.rows, graphs = run.o.graphs, after = after_step,
    around = around(run),
    judge = function(loss, norm)
      if run.gap then run.gap:check() end
      if run.check_code then run.check_code() end
      return run.health:judge(loss, norm, regime.at(run.state.step + 1, run))
    end,
  }
end

local function train(phase, o, found)
  local run = open_run(phase, o, found)
  begin(run, found)
  if flags.get().profile then
    run.profiling = profiling.new { name = phase.name, directory = run.place, first = run.first, last = phase.steps,
                                    say = function(...) run.progress:say(...) end }
  end
  local _ <close> = finally(function()
    if run.profiling then run.profiling:close() end
    run.progress:close()
  end)
  run.ticked = core.clock()
  run_steps(run, phase.steps, function(step, record) after(run, step, record) end)
  check_end(run)
  save(run, true)
  leave_if_signalled(run)
  run.progress:say("%s  done: %d steps, %.0f s", phase.name, phase.steps - phase.before, run.state.seconds)
end

-- ---- locking, cleaning and entry points ----

local function lock(phase)
  local held, holder = core.lock(string.format("%s/lock", phase:directory()))
  if held then return held end
  return stop("%s is being trained by %s; wait for it, or train another phase with --only",
              phase.name, holder)
end

local function start_anew(directory, owner)
  checkpoints.clear(directory, owner)
  for _, name in ipairs(core.list_directory(directory)) do
    if name == "metrics.jsonl" or name:find "^evaluation%-%x+%.json$" then
      core.remove_file(string.format("%s/%s", directory, name))
    end
  end
end

local function say(text) print(string.format("warning: %s", text)) end

local M = {}

--- Train `phase` to its end, from its newest checkpoint if it has one.
---@param phase table
---@param o table the checked options of bam.train
function M.run(phase, o)
  if flags.get().fresh or not phase:finished() then check_dtype(phase, o) end
  phase:establish()
  if not flags.get().fresh and phase:finished() then return end
  local directory, random = phase:directory(), core.random_state()
  local held, leave = lock(phase), nil
  local _ <close> = finally(function()
    core.random_state(random)
    core.defer_signals(false)
    held:release()
    if leave then leave() end
  end)
  core.remove_staged(directory)
  atomic_dir.sweep(directory, checkpoints.stages)
  if flags.get().fresh then start_anew(directory, phase:owner()) end
  local found = phase:newest()
  if phase:is_end(found) then return end
  checkpoints.set_damaged_aside(directory, found and found.step or -1, phase:owner(), say)
  core.defer_signals(true)
  leave = tuning.enter(found and found.state or continued.run_before(o.start))
  train(phase, o, found)
end

--- Train from a checkpoint up to a newer one and return the model. Changes nothing on disk.
---@param phase table
---@param o table the checked options of bam.train
---@param found table an unfinished checkpoint, from checkpoints.newest
---@param newer table
---@return table model
function M.replay(phase, o, found, newer)
  local random = core.random_state()
  check_dtype(phase, o)
  local leave = tuning.enter(newer.state, true)
  local _ <close> = finally(function()
    core.random_state(random)
    leave()
  end)
  local run = open_run(phase, o, found)
  run_steps(run, newer.step, function(step) run.state.step = step end)
  return run.model
end

return M
