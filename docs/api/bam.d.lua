---@meta bam
-- Declarations of bam for editors. Written by `make docs` from the sources; do not edit, never run.

---@alias dtype "f32"|"f64"|"bf16"|"f16"|"i32"|"i64"|"u8"|"bool"
---@alias device "cpu"|"cuda"|string

---@class bam.TensorOptions
---@field dtype? dtype element type
---@field requires_grad? boolean collect a gradient in backward; false by default
---@field device? device where to allocate it; bam.device() by default

---@class nn.AttentionOptions
---@field width integer
---@field heads integer
---@field kv_heads? integer heads by default
---@field head_width? integer width / heads by default
---@field rope? boolean rotary position embedding, true by default
---@field rope_base? number 10000 by default
---@field bias? boolean bias of both projections, false by default
---@field std? number standard deviation of the initial weights, as in nn.Linear
---@field dtype? string

---@class nn.MixtureOfAttentionOptions
---@field width integer
---@field heads integer
---@field kv_heads? integer heads by default
---@field head_width? integer width / heads by default
---@field experts? integer 1 by default
---@field kv? string keys and values: "own" for each expert (default), or "shared"
---@field routing? string|integer "soft" (default), or k: only the k largest gates are not 0
---@field keys_apart? boolean parameters `queries` and `keys_values` instead of `qkv`; false by default
---@field aux_group_size? integer of the router, as in nn.Router
---@field router? fun(options: table): table makes a router of your own from nn.Router's options
---@field layer? integer number of the layer, passed to `router`
---@field rope_base? number 10000 by default, 0 for no RoPE
---@field rope_scaling? table { scaling = "linear", factor = 4 }, or { scaling = "llama3", factor = 8, low = 1, high = 4, context = 8192 }, or { scaling = "yarn", factor = 4, context = 32768 }
---@field rope_width? integer elements of a head that rotate, the first ones; all by default
---@field window? integer tokens that a token sees, itself counted; 0 by default: all
---@field qkv_bias? boolean biases of queries, keys and values; false by default
---@field out_bias? boolean bias of the output projection; false by default
---@field qk_norm? string norm of queries and keys: "head", RMS norm of each head; "width", RMS norm of all heads of an expert; "layer", LayerNorm of each head with weights of its own
---@field eps? number of these norms; 1e-5 by default
---@field std? number standard deviation of the initial weights, 0.02 by default
---@field out_std? number the same for `out`; std by default
---@field router_std? number the same for the router, 0.02 by default
---@field dtype? string
---@field temperature? number|schedule the logits are divided by it; 1 by default
---@field jitter? number|schedule in training the router's input is multiplied by uniform random numbers in 1 ± jitter; 0 by default
---@field renormalize? boolean the gates of the selected experts sum to 1; false by default. With 2 or more experts per token a mixture of identical experts then computes what one of them does. With 1 every gate is 1 and the router has no gradient, so training it is an error

---@class nn.RoutedFFNOptions
---@field width integer
---@field hidden integer hidden width of each expert
---@field activation? string of the experts: "silu" (default), "gelu", or "gelu_tanh", which computes GELU by tanh
---@field experts integer
---@field top_k? integer experts per token, 1 by default
---@field aux_group_size? integer of the router, as in nn.Router
---@field router? fun(options: table): table makes a router of your own from nn.Router's options
---@field layer? integer number of the layer, passed to `router`
---@field std? number standard deviation of the initial weights, 0.02 by default
---@field out_std? number the same for `down`; std by default
---@field router_std? number the same for the router, 0.02 by default
---@field dtype? string
---@field temperature? number|schedule the logits are divided by it; 1 by default
---@field jitter? number|schedule in training the router's input is multiplied by uniform random numbers in 1 ± jitter; 0 by default
---@field renormalize? boolean the gates of the selected experts sum to 1; false by default. With 2 or more experts per token a mixture of identical experts then computes what one of them does. With 1 every gate is 1 and the router has no gradient, so training it is an error

---@class nn.RoutedModulesOptions
---@field width integer
---@field experts integer
---@field make function makes an expert, a module that computes x [1, tokens, width] to the same shape, token by token
---@field top_k? integer experts per token, 1 by default
---@field aux_group_size? integer of the router, as in nn.Router
---@field router? fun(options: table): table makes a router of your own from nn.Router's options
---@field layer? integer number of the layer, passed to `router`
---@field router_std? number standard deviation of the router's initial weights, 0.02 by default
---@field dtype? string of the router
---@field temperature? number|schedule the logits are divided by it; 1 by default
---@field jitter? number|schedule in training the router's input is multiplied by uniform random numbers in 1 ± jitter; 0 by default
---@field renormalize? boolean the gates of the selected experts sum to 1; false by default. With 2 or more experts per token a mixture of identical experts then computes what one of them does. With 1 every gate is 1 and the router has no gradient, so training it is an error

---@class nn.RouterOptions
---@field width integer
---@field experts integer
---@field top_k? integer all experts by default
---@field dense? boolean return gates for all experts, 0 for those not selected, and no `experts`
---@field losses? boolean compute the auxiliary losses, true by default
---@field aux_group_size? integer tokens per group over which the load is balanced; 0 by default: all tokens
---@field std? number standard deviation of the initial weights, 0.02 by default
---@field dtype? string
---@field layer? integer number of the layer, for routers that differ between layers
---@field temperature? number|schedule the logits are divided by it; 1 by default
---@field jitter? number|schedule in training the router's input is multiplied by uniform random numbers in 1 ± jitter; 0 by default
---@field renormalize? boolean the gates of the selected experts sum to 1; false by default. With 2 or more experts per token a mixture of identical experts then computes what one of them does. With 1 every gate is 1 and the router has no gradient, so training it is an error

---@class nn.SwiGLUOptions
---@field width integer
---@field hidden integer
---@field activation? string "silu" (default), "gelu", or "gelu_tanh", which computes GELU by tanh
---@field bias? boolean bias of both projections, false by default
---@field std? number standard deviation of the initial weights, as in nn.Linear
---@field out_std? number the same for `down`; std by default
---@field dtype? string

---@class optim.AdamWOptions
---@field betas? table decay rates of the first and the second moment; { 0.9, 0.95 } by default
---@field decay? function function(name, tensor, module): does this parameter decay? Matrices do by default, embeddings and norms do not
---@field eps? number added to the root of the second moment; 1e-08 by default
---@field groups? table options of some parameters: { { params = "^embed%.", lr_scale = 0.5 }, ... }. A parameter belongs to the first group whose Lua pattern its name matches
---@field lr? number opt:step(lr) overrides it; 0.001 by default
---@field weight_decay? number 0.1 by default

---@class optim.LionOptions
---@field betas? table coefficients of the interpolation and of the momentum; { 0.9, 0.99 } by default
---@field decay? function function(name, tensor, module): does this parameter decay? Matrices do by default, embeddings and norms do not
---@field groups? table options of some parameters: { { params = "^embed%.", lr_scale = 0.5 }, ... }. A parameter belongs to the first group whose Lua pattern its name matches
---@field lr? number opt:step(lr) overrides it; 0.0001 by default
---@field weight_decay? number 0 by default

---@class optim.MuonOptions
---@field adamw? table options of AdamW, which updates all other parameters; also lr_scale
---@field adjust_lr? string factor of an update: 0.2 sqrt(max(rows, columns)), which gives it the size of AdamW's; with "original" sqrt(max(1, rows / columns)); "match_rms_adamw" by default
---@field decay? function function(name, tensor, module): does this parameter decay? Matrices do by default, embeddings and norms do not
---@field eps? number lower bound of the norm that the momentum is divided by; 1e-07 by default
---@field groups? table options of some parameters: { { params = "^embed%.", lr_scale = 0.5 }, ... }. A parameter belongs to the first group whose Lua pattern its name matches
---@field lr? number opt:step(lr) overrides it; 0.001 by default
---@field momentum? number 0.95 by default
---@field nesterov? boolean true by default
---@field ns_coefficients? table coefficients of X, XXᵀX and (XXᵀ)²X per step; { 3.4445, -4.775, 2.0315 } by default
---@field ns_steps? integer Newton-Schulz iterations; 5 by default
---@field use_muon? any function(name, tensor, module), or true or false in a group: does Muon update this parameter? Vectors are never updated by it
---@field weight_decay? number 0.1 by default

---@class optim.SGDOptions
---@field decay? function function(name, tensor, module): does this parameter decay? Matrices do by default, embeddings and norms do not
---@field groups? table options of some parameters: { { params = "^embed%.", lr_scale = 0.5 }, ... }. A parameter belongs to the first group whose Lua pattern its name matches
---@field lr? number opt:step(lr) overrides it; 0.01 by default
---@field momentum? number 0 by default
---@field nesterov? boolean false by default
---@field weight_decay? number 0 by default

---@class optim.Definition
---@field name string letters, digits and _; also its name in bam.train
---@field doc? string text for help()
---@field options table { name = { kind, default, doc = "..." } }; lr = { "rate", 1e-3 } is required. Kinds: rate (a number of at least 0), fraction (from 0 to below 1), positive, number, count, size, boolean, string, list, table, callable. An option without a default is required, unless it has optional = true. The option weight_decay adds `decay`; the update receives weight_decay = 0 for parameters that do not decay
---@field state? string[]|fun(options: table, param: tensor): table tensors kept for each parameter, initially 0, saved and resumed: names of tensors with the shape of the parameter, and name = { shape =, dtype =, value = } for others, with the dtype of the parameter and value 0 by default
---@field update? fun(param: tensor, grad: tensor, state: table, o: table): tensor returns the new value of the parameter and assigns new values to the fields of `state`; changes nothing in place. It sees one whole parameter; o has the options, with this step's lr, weight_decay, step (how often the parameter was trained, from 1), name and module
---@field elementwise? boolean the update treats all elements alike: it is called once for many parameters, stored back to back as one vector, which is faster; false by default
---@field kernel? fun(segment: table, o: table) instead of update: changes segment.param and segment.state in place by one call of a kernel; o.clip, a 0-d f64 tensor or nil, is the factor of segment.grad; a factor of 0 must change nothing
---@field check? fun(what: string, options: table) raises an error if options contradict each other
---@field counts? boolean with kernel: o.step counts for each parameter, not for the optimizer; false by default
---@field accepts? fun(name: string, tensor: tensor, module?: table, options: table): boolean which parameters it updates; all by default
---@field rest? string|table name or definition of the optimizer that updates the others

---@class schedule.constantOptions
---@field value number
---@field warmup? number a linear rise to the full value: a share of the run if below 1, otherwise steps; 0 by default

---@class schedule.cosineOptions
---@field peak number
---@field warmup? number a linear rise to the full value: a share of the run if below 1, otherwise steps; 0 by default
---@field floor? number a share of the peak; 0 by default

---@class schedule.Definition
---@field name string for messages and printing
---@field doc? string text for help()
---@field options? table { name = { kind, default, doc = "..." } }, as in bam.optim.define; `warmup` is added
---@field value fun(o: table, progress: number, step: integer, total: integer): number value after the warm-up; progress is 0 at the end of the warm-up, which rises to that value, and 1 at the last step
---@field check? fun(what: string, o: table) raises an error if options contradict each other
---@field single? string the option that a number in place of the options sets

---@class schedule.linearOptions
---@field from number
---@field to number
---@field warmup? number a linear rise to the full value: a share of the run if below 1, otherwise steps; 0 by default

---@class schedule.wsdOptions
---@field peak number
---@field warmup? number a linear rise to the full value: a share of the run if below 1, otherwise steps; 0 by default
---@field decay? number its length: a share of the run if below 1, otherwise steps; 0.2 by default
---@field floor? number a share of the peak; 0 by default
---@field shape? string "linear", "sqrt" or "cosine"; "linear" by default

---@class models.BlockDefinition
---@field name string letters, digits and _; it also stands in config.json
---@field norms string[][] the norms of a block: { field of the block, name in checkpoints }
---@field forward fun(block: table, x: tensor, branch?: tensor, batch: table): tensor, tensor computes the norms, block.attention(h, batch) and block.ffn(h, batch). The residual stream is x + branch, where branch is nil in the first block: `h, x = block.norm(x, branch)` adds and normalizes in one pass. It returns the new x and branch
---@field doc? string what help() prints

---@class models.parallelOptions
---@field activation? string of the FFN's gate: "silu" (default), which makes it SwiGLU, or "gelu" or "gelu_tanh", which make it GeGLU
---@field attention? table a class of your own, in the same way
---@field context? integer longest sequence, written to config.json; 2048 by default
---@field eps? number of the norms; 1e-05 by default
---@field ffn integer|table hidden width of SwiGLU: half of what the paper calls the FFN dimension; or a class of your own, or { class = MyFFN, and its options }
---@field head_width? integer width / heads by default
---@field heads integer
---@field kv_heads? integer heads by default
---@field layers integer
---@field logit_scale? number factor of the logits; 1 by default
---@field norm? string "layer" or "rms"; "layer" by default
---@field norm_weight? boolean do norms have weights?; true by default
---@field out_bias? boolean bias of attention's output; false by default
---@field qk_norm? string norm of queries and keys: "head", RMS norm of each head; "width", RMS norm of all heads together; "layer", LayerNorm of each head with weights of its own
---@field qkv_bias? boolean biases of queries, keys and values; false by default
---@field rope? table how RoPE's frequencies are scaled: { scaling = "linear", factor = 4 }, { scaling = "llama3", factor = 8, low = 1, high = 4, context = 8192 }, or { scaling = "yarn", factor = 4, context = 32768 }
---@field rope_base? number 10000 by default
---@field rope_layers? string "all" (default), or "windowed": only layers with a window rotate, as in Cohere 2
---@field rope_width? integer elements of a head that rotate, the first ones; all by default
---@field std? number standard deviation of the initial weights; output projections use std / √(2 layers); 0.02 by default
---@field tied? boolean the head uses the input embedding; false by default
---@field vocab integer
---@field width integer
---@field window? integer|integer[] tokens that a token sees, itself counted; a list has one per layer, 0 for all

---@class models.post_normOptions
---@field activation? string of the FFN's gate: "silu" (default), which makes it SwiGLU, or "gelu" or "gelu_tanh", which make it GeGLU
---@field attention? table a class of your own, in the same way
---@field context? integer longest sequence, written to config.json; 2048 by default
---@field eps? number of the norms; 1e-05 by default
---@field ffn integer|table hidden width of SwiGLU: half of what the paper calls the FFN dimension; or a class of your own, or { class = MyFFN, and its options }
---@field head_width? integer width / heads by default
---@field heads integer
---@field kv_heads? integer heads by default
---@field layers integer
---@field logit_scale? number factor of the logits; 1 by default
---@field norm? string "layer" or "rms"; "layer" by default
---@field norm_weight? boolean do norms have weights?; true by default
---@field out_bias? boolean bias of attention's output; false by default
---@field qk_norm? string norm of queries and keys: "head", RMS norm of each head; "width", RMS norm of all heads together; "layer", LayerNorm of each head with weights of its own
---@field qkv_bias? boolean biases of queries, keys and values; false by default
---@field rope? table how RoPE's frequencies are scaled: { scaling = "linear", factor = 4 }, { scaling = "llama3", factor = 8, low = 1, high = 4, context = 8192 }, or { scaling = "yarn", factor = 4, context = 32768 }
---@field rope_base? number 10000 by default
---@field rope_layers? string "all" (default), or "windowed": only layers with a window rotate, as in Cohere 2
---@field rope_width? integer elements of a head that rotate, the first ones; all by default
---@field std? number standard deviation of the initial weights; output projections use std / √(2 layers); 0.02 by default
---@field tied? boolean the head uses the input embedding; false by default
---@field vocab integer
---@field width integer
---@field window? integer|integer[] tokens that a token sees, itself counted; a list has one per layer, 0 for all

---@class models.sequentialOptions
---@field activation? string of the FFN's gate: "silu" (default), which makes it SwiGLU, or "gelu" or "gelu_tanh", which make it GeGLU
---@field attention? table a class of your own, in the same way
---@field context? integer longest sequence, written to config.json; 2048 by default
---@field eps? number of the norms; 1e-05 by default
---@field ffn integer|table hidden width of SwiGLU: half of what the paper calls the FFN dimension; or a class of your own, or { class = MyFFN, and its options }
---@field head_width? integer width / heads by default
---@field heads integer
---@field kv_heads? integer heads by default
---@field layers integer
---@field logit_scale? number factor of the logits; 1 by default
---@field norm? string "layer" or "rms"; "layer" by default
---@field norm_weight? boolean do norms have weights?; true by default
---@field out_bias? boolean bias of attention's output; false by default
---@field qk_norm? string norm of queries and keys: "head", RMS norm of each head; "width", RMS norm of all heads together; "layer", LayerNorm of each head with weights of its own
---@field qkv_bias? boolean biases of queries, keys and values; false by default
---@field rope? table how RoPE's frequencies are scaled: { scaling = "linear", factor = 4 }, { scaling = "llama3", factor = 8, low = 1, high = 4, context = 8192 }, or { scaling = "yarn", factor = 4, context = 32768 }
---@field rope_base? number 10000 by default
---@field rope_layers? string "all" (default), or "windowed": only layers with a window rotate, as in Cohere 2
---@field rope_width? integer elements of a head that rotate, the first ones; all by default
---@field std? number standard deviation of the initial weights; output projections use std / √(2 layers); 0.02 by default
---@field tied? boolean the head uses the input embedding; false by default
---@field vocab integer
---@field width integer
---@field window? integer|integer[] tokens that a token sees, itself counted; a list has one per layer, 0 for all

---@class bam.MixOptions
---@field experts table list of models, checkpoint directories, descriptions or phases
---@field attention? bam.AttentionMix
---@field ffn? bam.FFNMix
---@field merge? string|table|function how the parameters that belong to no expert are merged: a method of bam.merge by its name, or with options { "ties", density = 0.1 }, or a function(tensors, weights, o); the uniform average by default
---@field load_balance? number|schedule coefficient of the load-balance loss, 0.01 by default
---@field z_loss? number|schedule coefficient of the z loss, 0.001 by default
---@field aux_group_size? integer tokens per group over which the load is balanced; 0 by default: all tokens
---@field freeze? bam.Freeze what is frozen at which steps; model:set_step applies it
---@field seed? integer seed of the routers' initial weights; by default that of the run in training, otherwise 1

---@class bam.AttentionMix
---@field experts? "mean" no attention experts but the mean of all, as in BTX; excludes the other options
---@field kv? "own"|"shared" keys and values: of each expert (default), or their mean for all
---@field routing? "soft"|integer|schedule all experts (default), or the k with the largest gates
---@field router? function makes a router of your own, see nn.Router
---@field temperature? number|schedule the logits are divided by it; 1 by default
---@field jitter? number|schedule in training the router's input is multiplied by uniform random numbers in 1 ± jitter; 0 by default
---@field renormalize? boolean the gates of the selected experts sum to 1; false by default. With 2 or more experts per token a mixture of identical experts then computes what one of them does. With 1 every gate is 1 and the router has no gradient, so training it is an error

---@class bam.FFNMix
---@field top_k? integer|schedule experts per token, 1 by default
---@field extra_seed_copies? integer number of additional experts that start as copies of the seed's FFN; 0 by default
---@field router? function makes a router of your own, see nn.Router
---@field temperature? number|schedule the logits are divided by it; 1 by default
---@field jitter? number|schedule in training the router's input is multiplied by uniform random numbers in 1 ± jitter; 0 by default
---@field renormalize? boolean the gates of the selected experts sum to 1; false by default. With 2 or more experts per token a mixture of identical experts then computes what one of them does. With 1 every gate is 1 and the router has no gradient, so training it is an error

---@class bam.Freeze
---@field experts? boolean|number|schedule attention and FFN experts; shared keys and values belong to no expert
---@field routers? boolean|number|schedule routers of attention and FFN
---@field rest? boolean|number|schedule everything else

---@class bam.UpcycleOptions
---@field model any a model, checkpoint directory, description or phase
---@field experts integer number of FFN experts
---@field ffn? bam.FFNMix
---@field load_balance? number|schedule coefficient of the load-balance loss, 0.01 by default
---@field z_loss? number|schedule coefficient of the z loss, 0.001 by default
---@field aux_group_size? integer tokens per group over which the load is balanced; 0 by default: all tokens
---@field freeze? bam.Freeze what is frozen at which steps; model:set_step applies it
---@field seed? integer seed of the routers' initial weights; by default that of the run in training, otherwise 1

---@class bam.ExtendOptions
---@field model any the mixture: a live model, a checkpoint directory or a phase
---@field experts table list of dense models, checkpoint directories or phases; each becomes one more expert
---@field load_balance? number|schedule coefficient of the load-balance loss; the mixture's by default
---@field z_loss? number|schedule coefficient of the z loss; the mixture's by default
---@field freeze? bam.Freeze what is frozen at which steps; nothing by default
---@field seed? integer seed of the new rows of the routers; by default that of the run in training, otherwise 1

---@class models.ExplainOptions
---@field documents? tensor integers [B, T], as in a batch
---@field positions? tensor integers [B, T]
---@field rows? integer rows that are printed, 1 by default
---@field tokens? integer tokens per row that are printed, 100 by default

---@class models.LossOptions
---@field documents? tensor integers [B, T]
---@field positions? tensor integers [B, T]
---@field scale? number factor of the summed likelihood, 1 / targets of the whole batch; by default the mean is taken
---@field share? number factor of the auxiliary losses: the share of the batch's targets in this call; 1 by default
---@field ignore_index? integer target of padding, -100 by default

---@class merge.averageOptions
---@field weights? table a number of at least 0 for each model, 1 by default

---@class merge.dareOptions
---@field drop? number probability that an element is dropped; 0.5 by default
---@field scale? number factor of the sum of the task vectors; 0.4 by default
---@field seed? integer of the random choice; 1 by default
---@field weights? table a finite number for each model but the first, 1 by default

---@class merge.Definition
---@field name string letters, digits and _; also its name in bam.mix
---@field merge fun(tensors: tensor[], weights: number[], o: table): tensor merges one parameter of all models. The tensors are copies in f64 on the CPU; weights[i] belongs to tensors[i]. o has the options, the `name` of the parameter, and `base`
---@field doc? string text for help()
---@field options? table { name = { kind, default, doc = "..." } }, as in bam.optim.define; `weights` is added. With an option `seed`, bam.rand is seeded for each parameter with that seed and its name
---@field base? boolean the first model is the base: its tensor is o.base, and `tensors` and `weights` belong to the others; false by default
---@field weights? "number"|"rate" kind of the weights: any numbers (default), or numbers of at least 0
---@field models? integer number of models that it merges; any by default
---@field elementwise? boolean elements are merged independently: to save memory it is called for pieces of a parameter, as vectors; false by default
---@field check? fun(what: string, o: table) raises an error if options contradict each other

---@class merge.slerpOptions
---@field weights? table a number of at least 0 for each model, 1 by default

---@class merge.task_arithmeticOptions
---@field scale? number the paper advises 0.3 to 0.5; 0.4 by default
---@field weights? table a finite number for each model but the first, 1 by default

---@class merge.tiesOptions
---@field density? number share of a task vector's elements that are kept, in each parameter; 0.2 by default
---@field scale? number factor of the merged task vector; 1 by default
---@field weights? table a number of at least 0 for each model but the first, 1 by default

---@class bam.CorpusOptions
---@field vocab? integer vocabulary of the tokenizer to train on this text
---@field tokenizer? string|table path of a tokenizer.json to use instead; or { vocab, from, pattern }: the tokenizer is trained on the domains listed in `from` (all by default), so that adding other domains does not change it
---@field heldout? number share of the documents that are held out, 0.02 by default
---@field field? string field of JSON lines, "text" by default; "doc.text" is nested
---@field format? "jsonl"|"text" format of files whose name and contents do not agree
---@field skip_bad? boolean count and skip JSON lines without a document instead of stopping; false by default
---@field pattern? string|table how the tokenizer splits text, see tokenizer.train
---@field separator? string the token before every document, <|endoftext|> by default; a tokenizer from elsewhere may have another, such as "<EOS_TOKEN>". In files the line <|endoftext|> separates documents in any case
---@field cache? string cache directory; $BAMLUA_CACHE or ~/.cache/bamlua by default

---@class bam.DebianOptions
---@field vocab? integer vocabulary of the tokenizer, 2048 by default
---@field cache? string cache directory; $BAMLUA_CACHE or ~/.cache/bamlua by default

---@class bam.StreamOptions
---@field context integer tokens per row
---@field batch integer rows per step
---@field steps integer steps of the run, for schedules
---@field seed? integer 1 by default

---@class bam.HeldoutOptions
---@field context integer tokens per row
---@field tokens? integer limit per domain, in whole rows, at least one; all by default

---@class bam.tokenizer.TrainOptions
---@field texts string[]|function texts, or a function that returns the next one, nil at the end
---@field vocab? integer vocabulary, 2048 by default
---@field special? string[] special tokens, { "<|endoftext|>" } by default
---@field pattern? string regular expression (Oniguruma, as in tokenizer.json) that splits text; GPT-2's by default

---@class bam.TrainOptions
---@field name string name of the phase; "experts/law" is in a directory "experts"
---@field model any a description; or what has weights to go on from: a phase (its final ones), a live model (as it is now; the phase trains a copy), or the directory of a model (of Hugging Face's too), of a checkpoint or of a phase
---@field data table text:sample { domain = weight }
---@field tokens? number tokens to train on, rounded to whole steps
---@field steps? integer steps to train, in place of tokens
---@field lr number|schedule learning rate
---@field continue? "weights"|"optimizer"|"run" what else is taken over from a phase or checkpoint: nothing but its weights (default); the optimizer's state too; or the run goes on: its steps are counted on, so that schedules and data continue, and `tokens` or `steps` are those that are added
---@field freeze? bam.Freeze what is frozen, in place of what the model says; {} nothing
---@field load_balance? number|schedule coefficient of the load-balance loss, in place of the model's
---@field z_loss? number|schedule coefficient of the z loss, in place of the model's
---@field temperature? number|schedule|table of all routers, or { attention = ..., ffn = ... }, in place of the model's
---@field jitter? number|schedule|table of the routers, likewise
---@field routing? "soft"|integer|schedule of attention experts, in place of the model's
---@field top_k? integer|schedule FFN experts per token, in place of the model's
---@field batch? integer rows per step; the option `batch`, or 16, by default
---@field rows? integer rows of a micro-batch, whose activations are in memory at a time: a divisor of batch; the option `rows`, or as many as fit into 1 GB, by default. Where the auxiliary losses are balanced over all tokens of a micro-batch (aux_group_size = 0) it changes what is learned, and the phase's fingerprint
---@field context? integer tokens per row; the option `context`, or the model's, by default
---@field seed? integer the option `seed`, or 1, by default
---@field dtype? "f32"|"bf16"|"fp8" what weights and activations are computed in; the option `dtype`, the flag --dtype, or "f32", by default. "bf16" takes a device that computes in it (CUDA). Sums, gradients of weights, norms' statistics, routers and losses stay f32, and the optimizer updates f32 masters of the weights. "fp8" is bf16 with the products of linear layers in FP8, on a GPU of compute capability 8.9 or newer; see m:fp8()
---@field clip? number largest gradient norm, 1 by default
---@field max_grad_ratio? number a step is skipped if its gradient norm exceeds clip and this many times the running mean, 10 by default; three skips in a row end the run if the loss has risen too
---@field optimizer? string|table name, "adamw" (default), "lion", "muon" or "sgd", or with options: { "muon", momentum = 0.9 }; or, in place of the name, a result of bam.optim.define
---@field betas? number[] of AdamW, { 0.9, 0.95 } by default; with `optimizer`, betas, eps and weight_decay are among its options
---@field eps? number of AdamW, 1e-8 by default
---@field weight_decay? number of AdamW, on matrices, 0.1 by default
---@field eval_every? integer steps between evaluations, a quarter of the run by default; 0: none
---@field eval_tokens? integer tokens per domain of such an evaluation, 2048 by default
---@field save_every? integer steps between checkpoints; once a minute by default
---@field audit_every? integer compute every n-th step twice, re-read its tokens, and check weights and moments between steps: wrong bits of memory, processor or disk end the run. About 1 / n slower; the weights are the same. Off by default
---@field graphs? boolean run the micro-steps of a dense model on a GPU as CUDA graphs (bam.graph), which takes less time of the host and gives the same bits. By default where it is possible; true: an error where it is not, as for mixtures, which wait for the rows of their experts
---@field on_step? fun(record: table, model: table) called after every step, to look and log
---@field on_eval? fun(result: table, model: table) called after every evaluation, to look and log

---@class bam.PlanOptions
---@field name string what --plan calls it
---@field model any a description, so that nothing is allocated, or a live model
---@field batch integer rows per step
---@field context integer tokens per row
---@field steps integer
---@field optimizer? string|table as in bam.train; "adamw" by default

---@class bam.CompareOptions
---@field on bam.Heldout text.heldout
---@field base? any one of the models: the ratio of each average to its average is shown
---@field context? integer tokens per window; the context of the phases by default
---@field tokens? integer limit of tokens per domain; the option `compare_tokens`, or all, by default
---@field name? string name of the results file, "results" by default

---@class bam.LoadOptions
---@field dtype? "f32"|"f64" dtype of the model; f64 if it was saved in f64, otherwise f32 by default
---@field routers? { attention?: function, ffn?: function } make the routers that were written in Lua
---@field layers? { attention?: table, ffn?: table } classes of the layers that were written in Lua, as bam.models.parallel takes them

---@class formats.Definition
---@field name string letters, digits and _
---@field endings string[] what the names of its files end in, without the dot: { "csv" }
---@field doc? string what it is for
---@field decode? fun(text: string, o: table): any what the contents of a file stand for
---@field encode? fun(value: any, o: table): string the contents of a file, which is written atomically
---@field load? fun(path: string, o: table): any instead of decode: reads the file itself
---@field save? fun(path: string, value: any, o: table) instead of encode: writes the file itself
---@field load_options? table { name = { kind, default, doc = "..." } }, as in bam.optim.define: what bam.load takes
---@field save_options? table the same of bam.save
---@field begins? fun(head: string): boolean does a file with these first bytes have this format? For files without a known ending

---@class bam.DeviceInfo
---@field name device
---@field description string
---@field memory? integer bytes

--- The methods of every module: list, count, save, load, freeze, group and convert its parameters.
---@class bam.nn.Module
local bam_nn_Module = {}

--- Call f(module, name) for this module and all modules inside it.
---@param f fun(module: table, name: string)
---@return table self
function bam_nn_Module:apply(f) end

--- Count the numbers in all parameters, and in those that are trained.
---@return integer total
---@return integer trainable
function bam_nn_Module:count() end

--- Format a module: its name and number of parameters, then its tensors and the modules inside.
---@return string
function bam_nn_Module:describe() end

--- Switch to evaluation mode (dropout is inactive).
---@return table self
function bam_nn_Module:eval() end

--- Compute the module: m(x) calls m:forward(x). Classes define their own.
function bam_nn_Module:forward() end

--- Compute the products of the linear layers inside in FP8, forward and backward, or with false as before. Parameters
--- stay as they are: bf16, on a GPU of compute capability 8.9 or newer. It concerns nn.Linear and attention's
--- projections, not routers, routed experts, embeddings and heads, and no product with a size that is not a multiple of
--- 16. bam.train { dtype = "fp8" } does it for phases.
---@param on? boolean true by default
---@return table self
function bam_nn_Module:fp8(on) end

--- Exclude parameters from training: all, those whose name matches a Lua pattern ("^embed%."), or those for which
--- f(name, tensor) returns true.
---@param which? string|fun(name: string, tensor: tensor): boolean all by default
---@return table self
function bam_nn_Module:freeze(which) end

--- Group the parameters. key(name, tensor, module) returns the name of the group, or nil to leave the parameter
--- out.
---@param key fun(name: string, tensor: tensor, module: table): any
---@return table<any, table[]> groups lists as m:parameters() returns
function bam_nn_Module:groups(key) end

--- Call f(...) in evaluation mode. Afterwards, even after an error or an interrupt, every module inside is back in
--- the mode that it had before.
---@param f function
---@param ... any arguments of f
---@return any ... results of f
function bam_nn_Module:in_eval(f, ...) end

--- Initialize a new module. Classes define their own, which receives the arguments of the class call.
function bam_nn_Module:init() end

--- Copy the tensors of a state into this module, converting between float dtypes. Names and shapes are checked
--- before anything changes.
---@param values table<string, tensor>
---@param options? { strict?: boolean } strict = false ignores names that only one side has
---@return string[] missing
---@return string[] unexpected
function bam_nn_Module:load_state(values, options) end

--- Iterate over this module (named "") and all modules inside it: for name, module in m:named_modules() do
---@return fun(): string, table
function bam_nn_Module:named_modules() end

--- Iterate over the parameters: for name, tensor in m:named_parameters() do
---@return fun(): string, tensor
function bam_nn_Module:named_parameters() end

--- List the parameters in order: every floating-point tensor, each once. `module` is the module that holds it.
---@return { name: string, tensor: tensor, module: table }[]
function bam_nn_Module:parameters() end

--- All tensors by name, for bam.save. They are the live tensors: clone them to keep their values.
---@return table<string, tensor>
function bam_nn_Module:state() end

--- Convert all parameters to a float dtype, move everything to a device, or both: m:to "f64", m:to "cuda",
--- m:to("f32", "cuda"). CUDA devices compute in bf16; elsewhere it is for saving, as f16 is everywhere. Changed tensors
--- are new and have no gradient: make optimizers afterwards.
---@param dtype? string
---@param device? string
---@return table self
function bam_nn_Module:to(dtype, device) end

--- Switch to training mode (dropout is active), or to evaluation mode with false.
---@param on? boolean true by default
---@return table self
function bam_nn_Module:train(on) end

--- Train parameters again: all, or those selected as in freeze.
---@param which? string|fun(name: string, tensor: tensor): boolean all by default
---@return table self
function bam_nn_Module:unfreeze(which) end

--- An n-dimensional array: a view of reference-counted storage on a device. Operators work element by
--- element and broadcast; x[i] and x[{ 2, { 1, 3 } }] are views, x[mask] and x[positions] copies, #x is
--- the first size. Every op of bam that takes a tensor first is also a method: x:sum(2) is bam.sum(x, 2).
---
---   local x = bam.randn(4, 8)
---   local y = (x * 2 + 1):sum(2)      -- shape (4)
---   local rows = x[{ { 1, 2 } }]      -- rows 1 and 2, a view
---   local positive = x[x:gt(0)]       -- a copy
---@class tensor
---@field shape integer[] sizes of the dimensions
---@field strides integer[] elements between neighbors, by dimension
---@field dtype dtype element type
---@field device device where its storage is
---@field ndim integer number of dimensions
---@field requires_grad boolean does backward compute its gradient? May be assigned
---@field grad tensor? gradient that backward collected, or nil. May be assigned a tensor or nil
---@field is_leaf boolean was it made directly, not by a recorded op?
---@operator add(tensor|number): tensor
---@operator sub(tensor|number): tensor
---@operator mul(tensor|number): tensor
---@operator div(tensor|number): tensor
---@operator mod(tensor|number): tensor
---@operator idiv(tensor|number): tensor
---@operator pow(tensor|number): tensor
---@operator band(tensor|number): tensor
---@operator bor(tensor|number): tensor
---@operator bxor(tensor|number): tensor
---@operator unm: tensor
---@operator bnot: tensor
---@operator len: integer
local tensor = {}

--- Split a dimension into at most `n` views of equal size; the last may be smaller.
---@param n integer
---@param dim? integer 1 by default
---@return tensor[]
function tensor:chunk(n, dim) end

--- Release the tensor now. Using it afterwards is an error, closing it again is not. If an op is using it,
--- as may happen in a finalizer, its memory is released right after that.
function tensor:close() end

--- Overwrite the elements with those of another tensor, broadcast, or with a number.
---@param from tensor|number
---@return tensor self
function tensor:copy_(from) end

--- The number of elements.
---@return integer
function tensor:count() end

--- A tensor that shares the storage of x but is not part of the graph.
---@return tensor
function tensor:detach() end

--- Fill the tensor with a number.
---@param value number
---@return tensor self
function tensor:fill_(value) end

--- Merge dimensions `first` to `last` into one.
---@param first? integer 1 by default
---@param last? integer -1 by default
---@return tensor
function tensor:flatten(first, last) end

--- Are the elements stored back to back in row-major order?
---@return boolean
function tensor:is_contiguous() end

--- The only element, as a number or boolean. An error if there are more.
---@return number|boolean
function tensor:item() end

--- Keep the tensor when the enclosing scopes end, with what the backward functions of custom ops and
--- checkpoints before it need.
---@return tensor self
function tensor:keep() end

--- Set requires_grad and return the tensor.
---@param requires_grad? boolean true by default
---@return tensor self
function tensor:requires_grad_(requires_grad) end

--- Are both views of the same memory, with equal shape, strides and dtype?
---@param other tensor
---@return boolean
function tensor:same(other) end

--- The size of one dimension: x:size(1) is #x, x:size(-1) the last.
---@param dim integer
---@return integer
function tensor:size(dim) end

--- A view of positions `first` to `last`, both included, of dimension `dim`.
---@param dim integer
---@param first integer
---@param last integer
---@return tensor
function tensor:slice(dim, first, last) end

--- Split a dimension into views of the given sizes. A number gives equal sizes; the last may be smaller.
---@param sizes integer|integer[]
---@param dim? integer 1 by default
---@return tensor[]
function tensor:split(sizes, dim) end

--- A view without dimension `dim`, which must have size 1; without `dim`, drop all dimensions of size 1.
---@param dim? integer
---@return tensor
function tensor:squeeze(dim) end

--- The transpose of a matrix, as a view.
---@return tensor
function tensor:t() end

--- The elements as nested lists; of a 0-d tensor, the element itself.
---@return table|number|boolean
function tensor:totable() end

--- A view with two dimensions swapped.
---@param a integer
---@param b integer
---@return tensor
function tensor:transpose(a, b) end

--- A view with a new dimension of size 1 at position `dim`.
---@param dim integer
---@return tensor
function tensor:unsqueeze(dim) end

--- Fill the tensor with 0.
---@return tensor self
function tensor:zero_() end

--- Causal self-attention with RoPE and grouped-query heads. One projection `qkv` computes queries, keys and values
--- (its rows are [q | k | v]); `out` projects the heads back to the width.
---@class bam.nn.Attention : bam.nn.Module
---@overload fun(options: nn.AttentionOptions): bam.nn.Attention
local bam_nn_Attention = {}

--- Attend to earlier tokens of the same document.
---@param x tensor [batch, time, width]
---@param documents? tensor integers [batch, time]; one document per row by default
---@param positions? tensor integers [time] or [batch, time] for RoPE, from 0; 0, 1, ... by default
---@return tensor y [batch, time, width]
function bam_nn_Attention:forward(x, documents, positions) end

--- Dropout. In training mode each element is set to 0 with probability p, and the others are scaled by 1 / (1 - p).
---@class bam.nn.Dropout : bam.nn.Module
---@overload fun(p?: number): bam.nn.Dropout
local bam_nn_Dropout = {}

--- Apply dropout. In evaluation mode, or with p = 0, return x itself.
---@param x tensor
---@return tensor
function bam_nn_Dropout:forward(x) end

--- A table of vectors, one per token id. Ids count from 0. `weight` is [count, width].
---@class bam.nn.Embedding : bam.nn.Module
---@overload fun(count: integer, width: integer, options?: { std?: number, dtype?: string }): bam.nn.Embedding
local bam_nn_Embedding = {}

--- Look up the vectors of token ids.
---@param ids tensor integers of any shape, from 0
---@return tensor y [..., width]
function bam_nn_Embedding:forward(ids) end

--- Layer normalization over the last dimension. `weight` and `bias` are [width], where there are any.
---@class bam.nn.LayerNorm : bam.nn.Module
---@overload fun(width: integer, options?: { weight?: boolean, bias?: boolean, eps?: number, dtype?: string }): bam.nn.LayerNorm
local bam_nn_LayerNorm = {}

--- Normalize x. With a residual, normalize x + residual in the same pass and also return the sum.
---@param x tensor [..., width]
---@param residual? tensor [..., width]
---@return tensor y
---@return tensor? sum
function bam_nn_LayerNorm:forward(x, residual) end

--- A linear layer: y = x Wᵀ + b. `weight` is [outputs, inputs], `bias` [outputs].
---@class bam.nn.Linear : bam.nn.Module
---@overload fun(inputs: integer, outputs: integer, options?: { bias?: boolean, std?: number, dtype?: string }): bam.nn.Linear
local bam_nn_Linear = {}

--- Apply the layer to the last dimension.
---@param x tensor [..., inputs]
---@param residual? tensor [..., outputs] is added to the result
---@return tensor y [..., outputs]
function bam_nn_Linear:forward(x, residual) end

--- List the matrices of a parameter: the whole weight, or the parts that a layer around this one has stacked
--- (`_parts`).
---@param x tensor
---@param key string
---@return table[]
function bam_nn_Linear:matrices(x, key) end

--- Attention experts, softly mixed (BAM §3.4, §4.1): all experts attend for every token, and the gates of a router
--- weight their results. They are computed as the heads of one attention. `qkv` has the rows of all query heads,
--- then all key heads, then all value heads; `out` has the columns of all query heads; heads are in the order (KV
--- head, expert, head). Two parameters `queries` and `keys_values` with the same rows may replace `qkv`. A single
--- expert has no router: it is the attention of a dense model. With norms of queries and keys, the same is computed in
--- several ops.
---@class bam.nn.MixtureOfAttention : bam.nn.Module
---@overload fun(options: nn.MixtureOfAttentionOptions): bam.nn.MixtureOfAttention
local bam_nn_MixtureOfAttention = {}

--- Attend to earlier tokens of the same document.
---@param h tensor [B, T, width]
---@param batch? table table of the forward pass with documents and positions, see nn.Router
---@param residual? tensor [B, T, width] is added to the result
---@return tensor y [B, T, width]
function bam_nn_MixtureOfAttention:forward(h, batch, residual) end

--- List the matrices of a parameter: queries and output of each expert, keys and values of each set.
---@param x tensor
---@param key string
---@return table[]
function bam_nn_MixtureOfAttention:matrices(x, key) end

--- RMS normalization over the last dimension (Zhang and Sennrich 2019): x / sqrt(mean(x²) + eps) * weight. `weight` is
--- [width], if there is one.
---@class bam.nn.RMSNorm : bam.nn.Module
---@overload fun(width: integer, options?: { weight?: boolean, eps?: number, dtype?: string }): bam.nn.RMSNorm
local bam_nn_RMSNorm = {}

--- Normalize x. With a residual, normalize x + residual in the same pass and also return the sum.
---@param x tensor [..., width]
---@param residual? tensor [..., width]
---@return tensor y
---@return tensor? sum
function bam_nn_RMSNorm:forward(x, residual) end

--- FFN experts, of which a router selects some for each token (BAM §3.3, §4.2). The weights of the experts are
--- stacked: `gate_up` is [experts, 2 hidden, width], gate rows before up rows, and `down` is [experts, width,
--- hidden].
---@class bam.nn.RoutedFFN : bam.nn.Module
---@overload fun(options: nn.RoutedFFNOptions): bam.nn.RoutedFFN
local bam_nn_RoutedFFN = {}

--- Compute each token by its experts.
---@param h tensor [B, T, width]
---@param batch? table table of the forward pass, see nn.Router
---@return tensor y [B, T, width]
function bam_nn_RoutedFFN:forward(h, batch) end

--- Its matrices: gate, up and down of every expert.
---@param x tensor
---@param key string
---@return table[]
function bam_nn_RoutedFFN:matrices(x, key) end

--- FFN experts that are modules of any class, of which a router selects some for each token. Each expert computes the
--- tokens that are sent to it. nn.RoutedFFN computes experts of SwiGLU faster.
---@class bam.nn.RoutedModules : bam.nn.Module
---@overload fun(options: nn.RoutedModulesOptions): bam.nn.RoutedModules
local bam_nn_RoutedModules = {}

--- Compute each token by its experts.
---@param h tensor [B, T, width]
---@param batch? table table of the forward pass, see nn.Router
---@return tensor y [B, T, width]
function bam_nn_RoutedModules:forward(h, batch) end

--- The router of a mixture: a linear layer to one logit per expert, softmax, and the k largest gates. Any module or
--- function with the same signature can replace it:
---
---   gates, experts, record = router(h, batch)
---     h        tensor [B, T, width]: the input of the layer's experts
---     batch    table of this forward pass, the same for all layers: documents, positions, mask (bool [B, T], false for
---              padding; nil without padding), and whatever routers store there for later layers
---     gates    tensor [B, T, k], differentiable; 0 drops a choice
---     experts  integers [B, T, k] from 1, 0 for none; nil: all experts in order, k of them
---     record   optional: { losses = tensor [2], load balance and z, which the model adds to its own; statistics =
---              tensor [3, experts]: per expert the share of assignments, the mean gate, the mean of -p ln p },
---              computed over the tokens of the mask
---
--- bam.mix, nn.RoutedFFN and nn.MixtureOfAttention take a class or a function that makes the router, and call it
--- with the options of nn.Router. The parameters of a router that is a module are trained and saved.
---
--- A router that is a module may have a method after_step, called after every optimizer step (not after a skipped
--- one), without autograd:
---
---   router:after_step(statistics)
---     statistics   { load, gate, entropy }: lists with a number per expert, those of `record` averaged over the whole
---                  batch of the step; nil if the router returns no statistics
---
--- It changes tensors in the router's fields in place, for example a bias that balances the load:
--- self.bias:add_(...). It is also called while the router's parameters are frozen.
---
--- In bam.train the code of a router, with the globals, modules and tables that it uses, is part of the phase's
--- fingerprint. State that a router keeps between steps must be tensors in its fields, changed only while its field
--- `training` is true: checkpoints contain these. Caches belong in fields whose names start with "_".
---@class bam.nn.Router : bam.nn.Module
---@overload fun(options: nn.RouterOptions): bam.nn.Router
local bam_nn_Router = {}

--- Select experts for each token.
---@param h tensor [..., width]
---@param batch? table table of the forward pass
---@return tensor gates [..., k]
---@return tensor? experts [..., k]
---@return table record
function bam_nn_Router:forward(h, batch) end

--- Modules and functions applied one after another: nn.Sequential { nn.Linear(2, 16), bam.tanh, nn.Linear(16, 1) }.
--- They are the fields 1, 2, ...: #m is their number, m[1] is the first, and parameters have names such as "1.weight".
---@class bam.nn.Sequential : bam.nn.Module
---@overload fun(list: table): bam.nn.Sequential
local bam_nn_Sequential = {}

--- Apply the modules in order, each to the result of the previous one.
---@param x any
---@return any
function bam_nn_Sequential:forward(x) end

--- The SwiGLU feed-forward layer: down(silu(gate(x)) * up(x)), or GeGLU with another activation. Gate and up are one
--- projection `gate_up` (its rows are [gate | up]).
---@class bam.nn.SwiGLU : bam.nn.Module
---@overload fun(options: nn.SwiGLUOptions): bam.nn.SwiGLU
local bam_nn_SwiGLU = {}

--- Apply the layer to the last dimension.
---@param x tensor [..., width]
---@param _? table of a forward pass, which other layers in its place need
---@param residual? tensor [..., width] is added to the result
---@return tensor y [..., width]
function bam_nn_SwiGLU:forward(x, _, residual) end

---@class bam.optim.Optimizer
local bam_optim_Optimizer = {}

--- Everything that a step changes: the buffers of parameters and state, and the set of the tensors that live in
--- them.
---@return tensor[] tensors
---@return table<tensor, true> parameters
function bam_optim_Optimizer:buffers() end

--- Measure the norm of all gradients together, and scale them in the next step so that it is at most `max_norm`.
--- The gradients themselves do not change. The factor stays on the device. With wait = false the norm does too, and
--- a step after a norm that is not finite changes nothing.
---@param max_norm number math.huge only measures
---@param options? { wait?: boolean } wait is true by default
---@return number norm before clipping; without waiting, a tensor
function bam_optim_Optimizer:clip(max_norm, options) end

--- The dtype of the parameters; of the first of them, where they differ.
---@return string
function bam_optim_Optimizer:dtype() end

--- Load a saved state. Names and shapes are checked before anything changes. A state of an older version, without
--- the steps of each parameter, counts all steps for all of them.
---@param values table<string, tensor>
---@param options? { strict?: boolean } strict = false ignores names that only one side has
---@return string[] missing
---@return string[] unexpected
function bam_optim_Optimizer:load_state(values, options) end

--- Run what clip does on a GPU as a graph (bam.graph), up to the end of a block; the training loop does so. Clip then
--- waits for the norm.
---@return table recording local recording <close> = opt:record_clip()
function bam_optim_Optimizer:record_clip() end

--- Note the numbers of steps, in total and of each parameter. The result is a function that restores them.
---@return fun()
function bam_optim_Optimizer:remember_steps() end

--- All that is needed to resume to the bit, for bam.save: the number of steps, and the state of each parameter
--- under names such as "m.embed.weight", with its own number of steps if updates depend on it. They are the live
--- tensors: clone them to keep their values.
---@return table<string, tensor>
function bam_optim_Optimizer:state() end

--- Update the parameters from their gradients. Frozen parameters and their state are left alone. The factor of the
--- last clip is applied if it was called since the previous step. Does not wait for the device, unless the update
--- is written in Lua. Ctrl-C acts before or after a step. A failed step changes nothing.
---@param lr? number the lr the optimizer was made with by default
function bam_optim_Optimizer:step(lr) end

--- The names of the parameters that are trained at present, in a fixed order: all but the frozen ones.
---@return string[]
function bam_optim_Optimizer:trained() end

--- Set all gradients to 0. They remain tensors: p.grad is a view of the optimizer's buffer.
function bam_optim_Optimizer:zero_grad() end

---@class schedule
local schedule = {}

--- The value at a step.
---@param step integer from 1
---@param total integer number of steps
---@return number
function schedule:at(step, total) end

--- The same schedule with every value multiplied by `factor`.
---@param factor number
---@return schedule
function schedule:scaled(factor) end

--- A model with weights: embedding, blocks, a norm and a head. Dense models and mixtures are
--- the same module with different layers inside.
---@class bam.models.Model : bam.nn.Module
---@overload fun(d: bam.Description, options?: { dtype?: "f32"|"f64", std?: number }): bam.models.Model
local bam_models_Model = {}

--- Tell the routers that have a method after_step that the optimizer has taken a step; see nn.Router. bam.train and
--- bam.loop.step do this; a loop of your own does it after opt:step().
---@param routing table[] as in the records of bam.loop: { layer, module, load, gate, entropy }
function bam_models_Model:after_step(routing) end

--- Count the parameters: all, and those that are active for one token.
---@return integer total
---@return integer active
function bam_models_Model:count() end

--- Print a text with the loss of each token: what was to be predicted, after which token, and how surprising it was, in
--- nats. With `targets` any pairs, such as those of a training batch: targets that are shifted wrongly show at once. A
--- text follows the token that texts begin with in training. Runs in evaluation mode.
---
---   model:explain "the river sings"
---   model:explain(batch.ids, batch.targets, { documents = batch.documents, positions = batch.positions })
---@param ids string|integer[]|tensor text, or token ids, also [B, T]
---@param targets? integer[]|tensor the next token of each by default; -100 does not count
---@param options? models.ExplainOptions
---@return tensor losses [B, T], 0 where the target is -100
function bam_models_Model:explain(ids, targets, options) end

--- FLOPs per token, as in description:flops.
---@param context integer tokens of a sequence
---@return { layer: table, training: integer, palm: integer }
function bam_models_Model:flops(context) end

--- Logits of the next token.
---@param ids tensor integers [B, T], from 0
---@param options? { documents?: tensor, positions?: tensor } integers [B, T], as for bam.attention
---@return tensor logits [B, T, vocab]
function bam_models_Model:forward(ids, options) end

--- The log-probability of each target, in evaluation mode and without recording.
---@param ids tensor integers [B, T]
---@param targets tensor integers [B, T]; the result is 0 where they are -100
---@param options? { documents?: tensor, positions?: tensor } integers [B, T]
---@return tensor [B, T]
function bam_models_Model:log_likelihood(ids, targets, options) end

--- What training minimizes: the loss, which is the mean negative log likelihood of the targets, plus load_balance and
--- z_loss times the auxiliary losses summed over layers (BAM §4.2). In a dense model it is the loss. Tokens whose
--- target is ignore_index are padding and count in none of these. To accumulate gradients over several calls, pass
--- `scale` and `share`.
---@param ids tensor integers [B, T], from 0
---@param targets tensor integers [B, T]
---@param options? models.LossOptions
---@return tensor total
---@return { loss: tensor, losses?: tensor, routing: table[] } parts losses is [2], load balance and z
function bam_models_Model:loss(ids, targets, options) end

--- What the routers do with a text in evaluation mode, without gradients: a list of { layer, module, statistics,
--- losses }, see nn.Router; module is "attention" or "ffn".
---@param ids tensor|string integers [B, T], or a text
---@param options? { documents?: tensor, positions?: tensor } integers [B, T]
---@return table[]
function bam_models_Model:routing(ids, options) end

--- Continue a text. Returns the prompt and what the model adds to it, up to the end of the text, whose token is left
--- out. Text is encoded and decoded by the model's field `tokenizer`; a model with a vocabulary of 256 and no tokenizer
--- uses bytes. Runs in evaluation mode.
---@param prompt string|integer[] text, or token ids
---@param options? { tokens?: integer, temperature?: number, top_k?: integer, top_p?: number, seed?: integer, stop?: any } at most 100 tokens by default; `top_k` draws from the k most likely tokens, `top_p` from the fewest whose probabilities reach it; `stop` is the token id that ends the text, or a list of them, by default the model's own; false goes on after it
---@return string|integer[] text for a text, ids for ids
function bam_models_Model:sample(prompt, options) end

--- Save the model as a checkpoint directory: config.json, model.safetensors (in shards with an index if larger than
--- `shard_bytes`), tokenizer.json if the model has one, and what other programs need: tokenizer_config.json,
--- generation_config.json and the chat template it came with. The directory appears atomically. A dense model of the
--- paper's blocks is saved as CohereForCausalLM, one that was loaded as a Llama as LlamaForCausalLM, and so on; others
--- have model_type "bam". `as` names another family, such as "llama" or "mixtral", which must be able to hold the model
--- exactly; with `inexact` the gates of its experts may be renormalized there, and by how much logits then differ is
--- printed. `python` adds the Python code by which transformers opens a model of type "bam" (trust_remote_code=True). A
--- weight beyond the range of the dtype is an error.
---@param directory string
---@param options? { dtype?: "f32"|"f64"|"bf16"|"f16", shard_bytes?: integer, as?: string, inexact?: boolean, python?: boolean } the model's dtype and 4 GiB by default
function bam_models_Model:save(directory, options) end

--- The log likelihood of each of several answers after a context, for multiple choice: the largest is the most likely.
--- Context and answers are encoded separately, so an answer begins with a space where the text has one. A context that
--- is a text follows the token that texts begin with in training; of a long one only the last tokens count, as many as
--- the model's context has room for. Runs in evaluation mode.
---
---   local scores = model:score("The capital of France is", { " Paris", " Rome" })
---@param context string|integer[] text, or token ids
---@param answers table list of texts, or of lists of token ids
---@param options? { per_token?: boolean } per_token = true gives means in place of sums, for answers of different lengths
---@return number[] scores the sum of ln p over the tokens of each answer
function bam_models_Model:score(context, answers, options) end

--- Set everything that is scheduled to its value at a step: coefficients of the auxiliary losses, temperature,
--- jitter and top_k of routers, and which parameters are frozen. The field `reached` has these values. A new model
--- is at step 1, but with everything trainable: make its optimizer before the first call, since an optimizer cannot
--- train what was frozen when it was made.
---@param step integer from 1
---@param total integer number of steps
function bam_models_Model:set_step(step, total) end

--- An ensemble of dense models (BTM, Li 2022). Each token is predicted by all models, weighted by the posterior of
--- the domains given the text so far: p(model | x₁ … xₜ) ∝ prior * p_model(x₁ … xₜ), within one document. An
--- ensemble evaluates and samples; it is not trained.
---@class bam.ensemble : bam.nn.Module
---@overload fun(options: { models: table[], prior?: number[] }): bam.ensemble
local bam_ensemble = {}

--- Count the parameters: all of them are active for every token.
---@return integer total
---@return integer active
function bam_ensemble:count() end

--- FLOPs per token, summed over the models.
---@param context integer tokens of a sequence
---@return { layer: table, training: integer, palm: integer }
function bam_ensemble:flops(context) end

--- Log-probabilities of the next token, in place of logits.
---@param ids tensor integers [B, T]
---@param options? { documents?: tensor, positions?: tensor } integers [B, T]
---@return tensor [B, T, vocab]
function bam_ensemble:forward(ids, options) end

--- The log-probability of each target.
---@param ids tensor integers [B, T]
---@param targets tensor integers [B, T]; the result is 0 where they are -100
---@param options? { documents?: tensor, positions?: tensor } integers [B, T]
---@return tensor [B, T]
function bam_ensemble:log_likelihood(ids, targets, options) end

--- The mean negative log-likelihood of the targets that are not -100.
---@param ids tensor integers [B, T]
---@param targets tensor integers [B, T]
---@param options? { documents?: tensor, positions?: tensor } integers [B, T]
---@return tensor loss
---@return { loss: tensor, routing: table[] } parts
function bam_ensemble:loss(ids, targets, options) end

--- The posterior of the models before each next token.
---@param ids tensor integers [B, T]
---@param options? { documents?: tensor, positions?: tensor } integers [B, T]
---@return tensor [models, B, T]
function bam_ensemble:posterior(ids, options) end

--- Continue a text, as model:sample does.
---@param prompt string|integer[] text, or token ids
---@param options? { tokens?: integer, temperature?: number, top_k?: integer, top_p?: number, seed?: integer, stop?: any }
---@return string|integer[] text for a text, ids for ids
function bam_ensemble:sample(prompt, options) end

--- The log likelihood of each of several answers after a context, as model:score gives it.
---@param context string|integer[] text, or token ids
---@param answers table list of texts, or of lists of token ids
---@param options? { per_token?: boolean } per_token = true gives means in place of sums
---@return number[] scores
function bam_ensemble:score(context, answers, options) end

--- A description of a model: read-only data, nothing is allocated. bam.models.parallel describes a dense model,
--- bam.mix and bam.upcycle a mixture. print(description) shows sizes and parameters.
---@class bam.Description
local bam_Description = {}

--- Make the model, in training mode. A dense model starts with random weights; a mixture with the weights of its
--- experts and random routers.
---@param options? { seed?: integer, dtype?: "f32"|"f64" } the seed of the description, or the generator of bam.seed; f32
---@return table model
function bam_Description:build(options) end

--- Count the parameters: all, and those that are active for one token.
---@return integer total
---@return integer active
function bam_Description:count() end

--- FLOPs per token: of one layer in inference, counted as in the paper, and of training. A scheduled top_k counts
--- with its value at the end of the run, as in description:count().
---@param context integer tokens of a sequence
---@return { layer: table, training: integer, palm: integer }
function bam_Description:flops(context) end

--- What defines the description, as a table that JSON can hold: equal for equal descriptions, even in another
--- process. Sources count by their contents, routers written in Lua by their code and what it uses, schedules by
--- their values at every step of a run.
---@param total? integer steps of the run; needed if something is scheduled
---@return table
function bam_Description:identity(total) end

--- How far the experts of a mixture have drifted from the seed (the first expert), and the loss of the mixture
--- before training. The report prints as a table; `experts` is a list of { label, drift = { { module,
--- relative_norm, cosine }, ... } } without the seed, `losses` has nats per token by data set.
---@param options? { data?: table<string, table> } by data set: ids [B, T + 1], or { ids, targets }
---@return table report
function bam_Description:report(options) end

--- The text of a recipe by domain, with its tokenizer. Methods and properties prepare the text when they need it:
--- files are hashed, the tokenizer is trained, tokens are cached.
---@class bam.Text
---@field domains string[] names, sorted
---@field vocab integer
---@field tokenizer tokenizer
---@field heldout bam.Heldout
local bam_Text = {}

--- The domains and their sizes, as text.
---@return string
function bam_Text:describe() end

--- A hash of all tokens and the tokenizer.
---@return string digits 32 hexadecimal digits
function bam_Text:digest() end

--- Prepare the text now: hash new files, then open the cached tokens or create them. Later calls do nothing.
---@return table corpus
function bam_Text:prepare() end

--- Training data: in every step each domain gets a share of the rows in proportion to its weight. Windows of `context`
--- tokens are drawn from a domain in random order, each once per epoch. A row may contain several documents; masks
--- separate them.
---
---   local data = text:sample { law = 0.9, general = 0.1 }
---@param weights table<string, number|function|schedule> by domain; at least one is positive in each step
---@return bam.Source
function bam_Text:sample(weights) end

--- The token before every document, as text: option separator, or <|endoftext|>.
---@return string
function bam_Text:separator() end

--- Read everything that is cached and raise an error if it was modified. Opening a text checks only small files.
function bam_Text:verify() end

--- A weighted mixture of domains that is not tied to a run yet. text:sample { ... } creates it; source:open opens it
--- for a run.
---@class bam.Source
local bam_Source = {}

--- A fingerprint of the training data of a run of `steps` steps, as plain values. It covers the tokenizer and the
--- domains that are sampled.
---@param steps integer
---@return { tokenizer: string, domains: table<string, string>, weights: table<string, number|string> } identity scheduled weights count by their values at every step
function bam_Source:identity(steps) end

--- Open the data for a run.
---@param options bam.StreamOptions
---@return bam.Stream
function bam_Source:open(options) end

--- The training data of one run: every batch is a function of its step.
---@class bam.Stream
local bam_Stream = {}

--- Rows `first` to `first + count - 1` of a step.
---@param step integer from 1
---@param first? integer 1 by default
---@param count? integer all rows from `first` on by default
---@return table batch ids, targets, documents, positions: i64 [count, context]; tokens: number of targets; domains: name of the domain by row
function bam_Stream:batch(step, first, count) end

--- How many times the text of each domain has been read by the end of a step.
---@param step integer
---@return table<string, number> epochs by domain
function bam_Stream:epochs(step) end

--- Read all training tokens again and report whether they changed since they were cached.
---@return string? fault
function bam_Stream:fault() end

--- The share of each domain in the rows of a step: its weight divided by the sum of all weights.
---@param step integer
---@return table<string, number> shares by domain
function bam_Stream:shares(step) end

--- Held-out text: text.heldout.
---@class bam.Heldout
local bam_Heldout = {}

--- A fingerprint of the held-out text and its tokens, as plain values.
---@return table identity
function bam_Heldout:identity() end

--- Open rows to evaluate on. Under the name of each domain, the result has the number of rows (count), of tokens that
--- the rows predict (tokens), and of bytes of their text (bytes).
---@param options bam.HeldoutOptions
---@return bam.HeldoutSet
function bam_Heldout:open(options) end

--- Held-out text in rows: heldout:open makes it.
---@class bam.HeldoutSet
local bam_HeldoutSet = {}

--- Rows `first` to `first + count - 1` of a domain.
---@param domain string
---@param first? integer 1 by default
---@param count? integer all rows from `first` on by default
---@return table batch as stream:batch returns; targets beyond the end are -100
function bam_HeldoutSet:batch(domain, first, count) end

--- A byte-level BPE tokenizer.
---@class tokenizer
---@field vocab integer number of tokens
---@field special string[] special tokens
local tokenizer = {}

--- Append the token ids of a text to a token buffer, without making a table of them.
---@param text string any bytes
---@param buffer userdata result of core.token_buffer()
---@param options? { special?: boolean } as for encode
---@return integer count number of tokens of the text
function tokenizer:append(text, buffer, options) end

--- The number of tokens of a text.
---@param text string any bytes
---@param options? { special?: boolean } as for encode
---@return integer
function tokenizer:count(text, options) end

--- The bytes of token ids. Decoding encoded text restores it.
---@param ids integer[]|tensor
---@return string
function tokenizer:decode(ids) end

--- The token ids of a text, without the special tokens that other programs add around it.
---@param text string any bytes
---@param options? { special?: boolean } special = true recognizes special tokens in the text
---@return integer[] ids from 0
function tokenizer:encode(text, options) end

--- The id of a token, special or not, or nil.
---@param text string bytes of the token
---@return integer?
function tokenizer:id(text) end

--- The tokenizer as the text of a tokenizer.json. Equal tokenizers give equal texts.
---@return string
function tokenizer:json() end

--- The pieces that a text is split into before merging, without regard to added tokens.
---@param text string any bytes
---@return string[]
function tokenizer:pieces(text) end

--- Write a tokenizer.json.
---@param path string
function tokenizer:save(path) end

--- The bytes of a token, or nil.
---@param id integer from 0
---@return string?
function tokenizer:token(id) end

--- A phase of a recipe: one training run, identified by its name and settings. As a model of another phase it
--- stands for its final weights.
---@class bam.Phase
---@field name string
---@field steps integer the number of its last step
---@field tokens integer that it trains on
local bam_Phase = {}

--- The checksum of the last checkpoint.
---@return string hex
function bam_Phase:checksum() end

--- The fingerprint of everything that defines the phase: model, data, settings, seed, and the fingerprints of its
--- parents.
---@return string hex
function bam_Phase:digest() end

--- The directory of the phase.
---@return string
function bam_Phase:directory() end

--- Create the directory and its phase.json.
function bam_Phase:establish() end

--- The last checkpoint if the phase has been trained to its end, otherwise nil.
---@return table?
function bam_Phase:finished() end

--- Is this checkpoint the last one of the phase?
---@param found? table
---@return boolean
function bam_Phase:is_end(found) end

--- The directory of the last checkpoint. An error if the phase is not finished.
---@return string
function bam_Phase:last() end

--- Load the model in evaluation mode, with its final weights or those of its best evaluation.
---@param which? "last"|"best" "last" by default
---@return table model
function bam_Phase:load(which) end

--- The manifest of the last checkpoint.
---@return table
function bam_Phase:manifest() end

--- The newest intact checkpoint, or nil.
---@return table?
function bam_Phase:newest() end

--- The owner of the phase's checkpoints, as their manifests record it.
---@return { phase: string, digest: string }
function bam_Phase:owner() end

--- The results of training: { step, seconds, skipped, best, ... }.
---@return table
function bam_Phase:results() end

---@class bam.Graph
local bam_Graph = {}

--- Drop all recordings and free their memory. A later call records again.
function bam_Graph:close() end

--- Why the last call ran the function itself, op by op; nil if it ran a recording.
---@return string?
function bam_Graph:obstacle() end

--- The sum a + b; for two bool tensors, logical or. Shapes broadcast, dtypes promote.
---@param b tensor|number
---@return tensor
function tensor:add(b) end

--- The difference a - b. Shapes broadcast, dtypes promote.
---@param b tensor|number
---@return tensor
function tensor:sub(b) end

--- The product a * b, element by element; for two bool tensors, logical and. Shapes broadcast, dtypes promote.
---@param b tensor|number
---@return tensor
function tensor:mul(b) end

--- The quotient a / b as a float: integers give f32. Shapes broadcast, dtypes promote.
---@param b tensor|number
---@return tensor
function tensor:div(b) end

--- The quotient a // b rounded down, as in Lua. An integer divisor of 0 is an error. The gradient is 0. Shapes broadcast, dtypes promote.
---@param b tensor|number
---@return tensor
function tensor:floordiv(b) end

--- The remainder a % b with the sign of b, as in Lua. An integer divisor of 0 is an error. Shapes broadcast, dtypes promote.
---@param b tensor|number
---@return tensor
function tensor:mod(b) end

--- The power a ^ b; for integers an integer, where b must not be negative. Shapes broadcast, dtypes promote.
---@param b tensor|number
---@return tensor
function tensor:pow(b) end

--- The larger of a and b, element by element; NaN if either is NaN. Shapes broadcast, dtypes promote.
---@param b tensor|number
---@return tensor
function tensor:maximum(b) end

--- The smaller of a and b, element by element; NaN if either is NaN. Shapes broadcast, dtypes promote.
---@param b tensor|number
---@return tensor
function tensor:minimum(b) end

--- -x, element by element.
---@return tensor
function tensor:neg() end

--- a == b element by element, as bool. Shapes broadcast, dtypes promote.
---@param b tensor|number
---@return tensor
function tensor:eq(b) end

--- a ~= b element by element, as bool. Shapes broadcast, dtypes promote.
---@param b tensor|number
---@return tensor
function tensor:ne(b) end

--- a < b element by element, as bool. Shapes broadcast, dtypes promote.
---@param b tensor|number
---@return tensor
function tensor:lt(b) end

--- a <= b element by element, as bool. Shapes broadcast, dtypes promote.
---@param b tensor|number
---@return tensor
function tensor:le(b) end

--- a > b element by element, as bool. Shapes broadcast, dtypes promote.
---@param b tensor|number
---@return tensor
function tensor:gt(b) end

--- a >= b element by element, as bool. Shapes broadcast, dtypes promote.
---@param b tensor|number
---@return tensor
function tensor:ge(b) end

--- Is each element NaN? A bool tensor.
---@return tensor
function tensor:isnan() end

--- Is each element infinite, of either sign? A bool tensor.
---@return tensor
function tensor:isinf() end

--- Is each element neither infinite nor NaN? A bool tensor.
---@return tensor
function tensor:isfinite() end

--- a and b, element by element, of bool tensors. Shapes broadcast.
---@param b tensor|number
---@return tensor
function tensor:logical_and(b) end

--- a or b, element by element, of bool tensors. Shapes broadcast.
---@param b tensor|number
---@return tensor
function tensor:logical_or(b) end

--- a or b but not both, element by element, of bool tensors. Shapes broadcast.
---@param b tensor|number
---@return tensor
function tensor:logical_xor(b) end

--- not x, element by element, of a bool tensor.
---@return tensor
function tensor:logical_not() end

--- e to the power of each element.
---@return tensor
function tensor:exp() end

--- The natural logarithm: -inf at 0, NaN for negative numbers.
---@return tensor
function tensor:log() end

--- The square root; NaN for negative numbers.
---@return tensor
function tensor:sqrt() end

--- The reciprocal of the square root.
---@return tensor
function tensor:rsqrt() end

--- The sine of each element, in radians.
---@return tensor
function tensor:sin() end

--- The cosine of each element, in radians.
---@return tensor
function tensor:cos() end

--- The hyperbolic tangent.
---@return tensor
function tensor:tanh() end

--- The logistic function 1 / (1 + exp(-x)).
---@return tensor
function tensor:sigmoid() end

--- log(1 + exp(x)), a smooth relu.
---@return tensor
function tensor:softplus() end

--- x * sigmoid(x), also called swish (arXiv:1702.03118).
---@return tensor
function tensor:silu() end

--- x times the cumulative normal distribution of x (arXiv:1606.08415). `approximate` uses the tanh formula.
---@param approximate? boolean false by default
---@return tensor
---@overload fun(self: tensor, attributes: { approximate?: boolean }): tensor
function tensor:gelu(approximate) end

--- x if it is positive, otherwise 0.
---@return tensor
function tensor:relu() end

--- The absolute value of each element. Its gradient at 0 is 0.
---@return tensor
function tensor:abs() end

--- The sign of each element: -1, 0 or 1, NaN for NaN. The gradient is 0.
---@return tensor
function tensor:sign() end

--- Round down to a whole number. Keeps the dtype. The gradient is 0.
---@return tensor
function tensor:floor() end

--- Round up to a whole number. Keeps the dtype. The gradient is 0.
---@return tensor
function tensor:ceil() end

--- Round to the nearest whole number, halves to even. Keeps the dtype. The gradient is 0.
---@return tensor
function tensor:round() end

--- a where the bool `condition` is true, otherwise b. All three broadcast; the dtypes of a and b promote.
---@param a tensor|number
---@param b tensor|number
---@return tensor
function tensor:where(a, b) end

--- `value` (a number) where the bool `mask` is true, otherwise x. x and mask broadcast; the dtype is that of x.
---@param mask tensor|number
---@param value tensor|number
---@return tensor
function tensor:masked_fill(mask, value) end

--- Limit x to at least `min` and at most `max`; at least one of them is required. NaN stays NaN. Integers stay integers if the limits are whole numbers; otherwise the result is f32.
---@param min? number none by default
---@param max? number none by default
---@return tensor
---@overload fun(self: tensor, attributes: { min?: number, max?: number }): tensor
function tensor:clamp(min, max) end

--- While `training`, set each element to 0 with probability `p` and scale the others by 1 / (1 - p). Otherwise x itself.
---@param p? number 0.5 by default
---@param training? boolean true by default
---@return tensor
---@overload fun(self: tensor, attributes: { p?: number, training?: boolean }): tensor
function tensor:dropout(p, training) end

--- The same elements in another shape: a view if the strides allow it, otherwise a copy. One size may be -1.
---@param sizes integer|integer[]
---@return tensor
---@overload fun(self: tensor, attributes: { sizes: integer|integer[] }): tensor
function tensor:reshape(sizes) end

--- The same elements in another shape without copying. An error if the strides do not allow it.
---@param sizes integer|integer[]
---@return tensor
---@overload fun(self: tensor, attributes: { sizes: integer|integer[] }): tensor
function tensor:view(sizes) end

--- A view with the dimensions in another order: permute(x, { 3, 1, 2 }).
---@param dims integer|integer[]
---@return tensor
---@overload fun(self: tensor, attributes: { dims: integer|integer[] }): tensor
function tensor:permute(dims) end

--- A view of `length` positions of dimension `dim`, starting at position `start`.
---@param dim integer
---@param start integer
---@param length integer
---@return tensor
---@overload fun(self: tensor, attributes: { dim: integer, start: integer, length: integer }): tensor
function tensor:narrow(dim, start, length) end

--- A view of one position of dimension `dim`, which is dropped: select(x, 1, 3) is x[3].
---@param dim integer
---@param position integer
---@return tensor
---@overload fun(self: tensor, attributes: { dim: integer, position: integer }): tensor
function tensor:select(dim, position) end

--- A view with dimensions of size 1 repeated, without copying. -1 keeps a size.
---@param sizes integer|integer[]
---@return tensor
---@overload fun(self: tensor, attributes: { sizes: integer|integer[] }): tensor
function tensor:expand(sizes) end

--- x in row-major order: x itself if it is contiguous, otherwise a copy.
---@return tensor
function tensor:contiguous() end

--- A contiguous copy.
---@return tensor
function tensor:clone() end

--- Convert x to a dtype, move it to a device, or both: x:to "f32", x:to "cuda", x:to("f32", "cuda:1"). x itself if nothing changes. Float to integer truncates and saturates; to bool is x ~= 0; bf16 and f16 round to nearest even.
---@param dtype? dtype none by default
---@param device? device none by default
---@return tensor
---@overload fun(self: tensor, attributes: { dtype?: dtype, device?: device }): tensor
function tensor:to(dtype, device) end

--- The sum over the dimensions `dim` (one, a list, or all of them). Bool and integers are summed in i64. 0 for an empty tensor.
---@param dim? integer|integer[] none by default
---@param keepdim? boolean false by default
---@return tensor
---@overload fun(self: tensor, attributes: { dim?: integer|integer[], keepdim?: boolean }): tensor
function tensor:sum(dim, keepdim) end

--- The mean over the dimensions `dim` (one, a list, or all of them). f32, f64, or bf16 on a GPU. NaN for an empty tensor.
---@param dim? integer|integer[] none by default
---@param keepdim? boolean false by default
---@return tensor
---@overload fun(self: tensor, attributes: { dim?: integer|integer[], keepdim?: boolean }): tensor
function tensor:mean(dim, keepdim) end

--- The product over the dimensions `dim` (one, a list, or all of them). Bool and integers are multiplied in i64. 1 for an empty tensor.
---@param dim? integer|integer[] none by default
---@param keepdim? boolean false by default
---@return tensor
---@overload fun(self: tensor, attributes: { dim?: integer|integer[], keepdim?: boolean }): tensor
function tensor:prod(dim, keepdim) end

--- Is any element over the dimensions `dim` (one, a list, or all of them) nonzero? A bool tensor; false for an empty one.
---@param dim? integer|integer[] none by default
---@param keepdim? boolean false by default
---@return tensor
---@overload fun(self: tensor, attributes: { dim?: integer|integer[], keepdim?: boolean }): tensor
function tensor:any(dim, keepdim) end

--- Are all elements over the dimensions `dim` (one, a list, or all of them) nonzero? A bool tensor; true for an empty one.
---@param dim? integer|integer[] none by default
---@param keepdim? boolean false by default
---@return tensor
---@overload fun(self: tensor, attributes: { dim?: integer|integer[], keepdim?: boolean }): tensor
function tensor:all(dim, keepdim) end

--- The largest element over the dimensions `dim` (one, a list, or all of them); NaN if there is one. The first of equal elements receives the gradient. See maximum for two tensors and argmax for the position.
---@param dim? integer|integer[] none by default
---@param keepdim? boolean false by default
---@return tensor
---@overload fun(self: tensor, attributes: { dim?: integer|integer[], keepdim?: boolean }): tensor
function tensor:max(dim, keepdim) end

--- The smallest element over the dimensions `dim` (one, a list, or all of them); NaN if there is one. The first of equal elements receives the gradient. See minimum for two tensors and argmin for the position.
---@param dim? integer|integer[] none by default
---@param keepdim? boolean false by default
---@return tensor
---@overload fun(self: tensor, attributes: { dim?: integer|integer[], keepdim?: boolean }): tensor
function tensor:min(dim, keepdim) end

--- The position of the first largest element along `dim`, counted from 1, as i64. Without `dim`, the position in the flattened tensor. NaN counts as largest.
---@param dim? integer none by default
---@param keepdim? boolean false by default
---@return tensor
---@overload fun(self: tensor, attributes: { dim?: integer, keepdim?: boolean }): tensor
function tensor:argmax(dim, keepdim) end

--- The position of the first smallest element along `dim`, counted from 1, as i64. Without `dim`, the position in the flattened tensor. NaN counts as smallest.
---@param dim? integer none by default
---@param keepdim? boolean false by default
---@return tensor
---@overload fun(self: tensor, attributes: { dim?: integer, keepdim?: boolean }): tensor
function tensor:argmin(dim, keepdim) end

--- The variance over the dimensions `dim` (one, a list, or all of them): the sum of squared deviations divided by n - `correction` (1: unbiased; 0: population variance). f32, f64, or bf16 on a GPU.
---@param dim? integer|integer[] none by default
---@param keepdim? boolean false by default
---@param correction? number 1 by default
---@return tensor
---@overload fun(self: tensor, attributes: { dim?: integer|integer[], keepdim?: boolean, correction?: number }): tensor
function tensor:var(dim, keepdim, correction) end

--- The vector norm over the dimensions `dim` (one, a list, or all of them): p = 2 (Euclidean), 1 (sum of absolute values) or math.huge (largest absolute value; the first of equals receives the gradient). f32 or f64. The gradient at 0 is 0.
---@param dim? integer|integer[] none by default
---@param keepdim? boolean false by default
---@param p? number 2 by default
---@return tensor
---@overload fun(self: tensor, attributes: { dim?: integer|integer[], keepdim?: boolean, p?: number }): tensor
function tensor:norm(dim, keepdim, p) end

--- The cumulative sum along `dim`. Bool and integers are summed in i64.
---@param dim integer
---@return tensor
---@overload fun(self: tensor, attributes: { dim: integer }): tensor
function tensor:cumsum(dim) end

--- exp(x) / sum(exp(x)) along `dim`. f32, f64, or bf16 on a GPU. NaN where all of x is -inf.
---@param dim? integer -1 by default
---@return tensor
---@overload fun(self: tensor, attributes: { dim?: integer }): tensor
function tensor:softmax(dim) end

--- log(softmax(x)) along `dim`, computed without loss of precision. f32, f64, or bf16 on a GPU.
---@param dim? integer -1 by default
---@return tensor
---@overload fun(self: tensor, attributes: { dim?: integer }): tensor
function tensor:log_softmax(dim) end

--- log(sum(exp(x))) over the dimensions `dim` (one, a list, or all of them), without overflow. f32, f64, or bf16 on a GPU. -inf for an empty tensor.
---@param dim? integer|integer[] none by default
---@param keepdim? boolean false by default
---@return tensor
---@overload fun(self: tensor, attributes: { dim?: integer|integer[], keepdim?: boolean }): tensor
function tensor:logsumexp(dim, keepdim) end

--- The matrix product: (m, k) x (k, n) gives (m, n). Leading dimensions are batches and broadcast. A 1-dimensional operand is a row on the left and a column on the right; that dimension is dropped from the result. f32, f64, or bf16 on a GPU.
---@param b tensor|number
---@return tensor
function tensor:matmul(b) end

--- The slices of x at `positions` (integers [n] from 1, repeats allowed) along `dim`.
---@param positions tensor|number
---@param dim? integer 1 by default
---@return tensor
---@overload fun(self: tensor, positions: tensor|number, attributes: { dim?: integer }): tensor
function tensor:index_select(positions, dim) end

--- x with slices of `source` added at `positions` (integers [n] from 1) along `dim`. Repeated positions accumulate, in order.
---@param positions tensor|number
---@param source tensor|number
---@param dim? integer 1 by default
---@return tensor
---@overload fun(self: tensor, positions: tensor|number, source: tensor|number, attributes: { dim?: integer }): tensor
function tensor:index_add(positions, source, dim) end

--- Pick elements along `dim` by position (integers from 1): y[i, j] = x[positions[i, j], j] for dim 1. `positions` has the shape of x in all other dimensions.
---@param positions tensor|number
---@param dim integer
---@return tensor
---@overload fun(self: tensor, positions: tensor|number, attributes: { dim: integer }): tensor
function tensor:gather(positions, dim) end

--- x with each element of `source` added at its position (integers from 1) along `dim`: y[positions[i, j], j] += source[i, j] for dim 1. Repeated positions accumulate, in order.
---@param positions tensor|number
---@param source tensor|number
---@param dim integer
---@return tensor
---@overload fun(self: tensor, positions: tensor|number, source: tensor|number, attributes: { dim: integer }): tensor
function tensor:scatter_add(positions, source, dim) end

--- The elements of x where the bool `mask` is true, in order. If mask has the shape of x, the result is [n]; if it has the shape of the first dimensions of x, the result is [n, remaining dimensions].
---@param mask tensor|number
---@return tensor
function tensor:masked_select(mask) end

--- One-hot vectors of `positions` (integers from 1 to `n`) in a new last dimension of size `n`, as i64.
---@param n integer
---@return tensor
---@overload fun(self: tensor, attributes: { n: integer }): tensor
function tensor:one_hot(n) end

--- Sort x along `dim`. Returns the sorted tensor and the positions, from 1, of its elements in x. The sort is stable; NaN counts as largest.
---@param dim? integer -1 by default
---@param descending? boolean false by default
---@return tensor
---@return tensor
---@overload fun(self: tensor, attributes: { dim?: integer, descending?: boolean }): tensor, tensor
function tensor:sort(dim, descending) end

--- The `k` largest elements along `dim` (with largest = false, the smallest), most extreme first, and their positions from 1. Of equal elements the first are taken; NaN counts as largest.
---@param k integer
---@param dim? integer -1 by default
---@param largest? boolean true by default
---@return tensor
---@return tensor
---@overload fun(self: tensor, attributes: { k: integer, dim?: integer, largest?: boolean }): tensor, tensor
function tensor:topk(k, dim, largest) end

--- Pad x with `value`: `before[d]` elements in front of dimension d and `after[d]` behind it. Each list has one entry per dimension; one that is not given is all 0.
---@param before? integer|integer[] none by default
---@param after? integer|integer[] none by default
---@param value? number 0 by default
---@return tensor
---@overload fun(self: tensor, attributes: { before?: integer|integer[], after?: integer|integer[], value?: number }): tensor
function tensor:pad(before, after, value) end

--- Reverse the order along the dimensions `dim` (one, a list, or all of them); a copy.
---@param dim? integer|integer[] none by default
---@return tensor
---@overload fun(self: tensor, attributes: { dim?: integer|integer[] }): tensor
function tensor:flip(dim) end

--- Shift x by `shift` positions along `dim`; elements that leave at one end enter at the other.
---@param shift integer
---@param dim? integer 1 by default
---@return tensor
---@overload fun(self: tensor, attributes: { shift: integer, dim?: integer }): tensor
function tensor:roll(shift, dim) end

--- x with zeros above a diagonal of its last two dimensions: `diagonal` 0 is the main one, 1 the one above it, -1 the one below.
---@param diagonal? integer 0 by default
---@return tensor
---@overload fun(self: tensor, attributes: { diagonal?: integer }): tensor
function tensor:tril(diagonal) end

--- x with zeros below a diagonal of its last two dimensions: `diagonal` 0 is the main one, 1 the one above it, -1 the one below.
---@param diagonal? integer 0 by default
---@return tensor
---@overload fun(self: tensor, attributes: { diagonal?: integer }): tensor
function tensor:triu(diagonal) end

--- Look up rows by token id: y[..., :] = weight[ids[...]]. `ids` are integers of any shape, counted from 0; `weight` is [V, D], f32, f64, or bf16 on a GPU; the result is [..., D].
---@param weight tensor|number
---@return tensor
function tensor:embedding(weight) end

--- Layer normalization over the last dimension: (x - mean) / sqrt(var + eps) * weight + bias. `x` is [..., D], `weight` and `bias` are [D]; f32, f64, or bf16 on a GPU.
---@param weight tensor|number
---@param bias? tensor
---@param eps? number 1e-05 by default
---@return tensor
---@overload fun(self: tensor, weight: tensor|number, bias?: tensor, attributes: { eps?: number }): tensor
function tensor:layer_norm(weight, bias, eps) end

--- layer_norm(x + residual) in one pass. Returns the normalized sum and the sum itself, for the residual stream. `x` and `residual` are [..., D], `weight` and `bias` [D]; f32, f64, or bf16 on a GPU.
---@param residual tensor|number
---@param weight tensor|number
---@param bias? tensor
---@param eps? number 1e-05 by default
---@return tensor
---@return tensor
---@overload fun(self: tensor, residual: tensor|number, weight: tensor|number, bias?: tensor, attributes: { eps?: number }): tensor, tensor
function tensor:add_layer_norm(residual, weight, bias, eps) end

--- RMS normalization over the last dimension (Zhang and Sennrich 2019): x / sqrt(mean(x²) + eps) * weight. `x` is [..., D], `weight` is [D]; f32, f64, or bf16 on a GPU.
---@param weight tensor|number
---@param eps? number 1e-05 by default
---@return tensor
---@overload fun(self: tensor, weight: tensor|number, attributes: { eps?: number }): tensor
function tensor:rms_norm(weight, eps) end

--- rms_norm(x + residual) in one pass. Returns the normalized sum and the sum itself, for the residual stream. `x` and `residual` are [..., D], `weight` is [D]; f32, f64, or bf16 on a GPU.
---@param residual tensor|number
---@param weight tensor|number
---@param eps? number 1e-05 by default
---@return tensor
---@return tensor
---@overload fun(self: tensor, residual: tensor|number, weight: tensor|number, attributes: { eps?: number }): tensor, tensor
function tensor:add_rms_norm(residual, weight, eps) end

--- x weightᵀ + bias. `x` is [..., in], `weight` [out, in], `bias` [out]; the result is [..., out]. f32 or f64, or bf16 where the device computes in it; then `dtype` may be f32, for a result that is not rounded. With `fp8` the operands of the products, bf16, are rounded to FP8, each tensor with a scale of its own: x and weight to E4M3, the gradient of the result to E5M2; not where a size is not a multiple of 16.
---@param weight tensor|number
---@param bias? tensor
---@param dtype? dtype none by default
---@param fp8? boolean false by default
---@return tensor
---@overload fun(self: tensor, weight: tensor|number, bias?: tensor, attributes: { dtype?: dtype, fp8?: boolean }): tensor
function tensor:linear(weight, bias, dtype, fp8) end

--- residual + x weightᵀ + bias: `linear` whose product adds to `residual`, [..., out], in no pass of its own. Rounded once in bf16. `fp8` is as in linear.
---@param weight tensor|number
---@param residual tensor|number
---@param bias? tensor
---@param fp8? boolean false by default
---@return tensor
---@overload fun(self: tensor, weight: tensor|number, residual: tensor|number, bias?: tensor, attributes: { fp8?: boolean }): tensor
function tensor:add_linear(weight, residual, bias, fp8) end

--- Rotary position embedding, interleaved (Su et al. 2021): rotate the pairs (2i, 2i + 1) of each head by position * base^(-2i / K). `x` is [B, T, H, K], f32, f64, or bf16 on a GPU; `positions` are integers [T] or [B, T] counted from 0, or their rope_table; 0 to T - 1 by default. `rope_factor` divides the frequencies. With `rope_context` they are scaled as in Llama 3: pairs that turn more than `rope_high` times within the context keep their frequency, those that turn less than `rope_low` times have it divided, and between the two is interpolated; `rope_yarn` interpolates by the number of the pair, as YaRN does. Only the first `rope_width` elements of a head rotate, 0: all.
---@param positions? tensor
---@param base? number 10000 by default
---@param rope_factor? number 1 by default
---@param rope_low? number 0 by default
---@param rope_high? number 0 by default
---@param rope_context? number 0 by default
---@param rope_yarn? boolean false by default
---@param rope_width? integer 0 by default
---@return tensor
---@overload fun(self: tensor, positions?: tensor, attributes: { base?: number, rope_factor?: number, rope_low?: number, rope_high?: number, rope_context?: number, rope_yarn?: boolean, rope_width?: integer }): tensor
function tensor:rope(positions, base, rope_factor, rope_low, rope_high, rope_context, rope_yarn, rope_width) end

--- cos and sin of the angles by which `rope` rotates heads of `width` elements at `positions`, integers [T] or [B, T]: [T, width / 2, 2] or [B, T, width / 2, 2], f32 or f64. Where `rope` and `mixture_of_attention` take `positions` they take this too, made with their base and scaling, and do not compute it again: once per batch is enough for all layers. f32 for x in f32 or bf16, f64 for x in f64. `rope_factor` divides the frequencies. With `rope_context` they are scaled as in Llama 3: pairs that turn more than `rope_high` times within the context keep their frequency, those that turn less than `rope_low` times have it divided, and between the two is interpolated; `rope_yarn` interpolates by the number of the pair, as YaRN does. Only the first `rope_width` elements of a head rotate, 0: all.
---@param width integer
---@param base? number 10000 by default
---@param rope_factor? number 1 by default
---@param rope_low? number 0 by default
---@param rope_high? number 0 by default
---@param rope_context? number 0 by default
---@param rope_yarn? boolean false by default
---@param rope_width? integer 0 by default
---@param dtype? dtype none by default
---@return tensor
---@overload fun(self: tensor, attributes: { width: integer, base?: number, rope_factor?: number, rope_low?: number, rope_high?: number, rope_context?: number, rope_yarn?: boolean, rope_width?: integer, dtype?: dtype }): tensor
function tensor:rope_table(width, base, rope_factor, rope_low, rope_high, rope_context, rope_yarn, rope_width, dtype) end

--- Causal scaled dot-product attention, softmax(q kᵀ * scale) v, without a T×T matrix (Dao 2023). `q` is [B, T, H, K], `k` and `v` are [B, T, G, K], where H is a multiple of G: query head h uses key head floor(h / (H / G)) (grouped-query attention, Ainslie et al. 2023). `documents`, integers [B, T], restricts each token to its own document, `window` to as many tokens, itself counted (0: all). `scale` is 1 / sqrt(K) by default. The result is [B, T, H, K]; f32, f64, or bf16 on a GPU. Slices of one QKV product are read without copying.
---@param k tensor|number
---@param v tensor|number
---@param documents? tensor
---@param scale? number none by default
---@param window? integer 0 by default
---@return tensor
---@overload fun(self: tensor, k: tensor|number, v: tensor|number, documents?: tensor, attributes: { scale?: number, window?: integer }): tensor
function tensor:attention(k, v, documents, scale, window) end

--- The position, from 0, of the first token of each token's document, for `documents`, integers [B, T]: i32 [B, T]. Where `attention` and `mixture_of_attention` take `documents` they take this too, and do not compute it again: once per batch is enough for all layers.
---@return tensor
function tensor:document_starts() end

--- N attention experts mixed by gates (BAM §3.4, §4.1): the sum over n of gates[n] * (causal attention of expert n, projected), computed as one attention over the heads of all experts. `x` is [B, T, D], `gates` [B, T, N] (not needed for a single expert). Each expert has `heads` query heads and `kv_heads` key and value heads of width K. `qkv` stacks the rows of all queries, keys and values, K per head: query heads in the order (KV head, expert, head); key and value heads in the order (KV head, expert), or only `kv_heads` if the experts share them. `out` is [Dout, N * heads * K]. RoPE with `rope_base` (0: none) uses `positions`, integers [T] or [B, T] or their rope_table, 0 to T - 1 by default. `documents`, integers [B, T], restricts each token to its own document, `window` to as many tokens, itself counted (0: all). `scale` is 1 / sqrt(K) by default. `qkv_bias` has one element per row of `qkv`, and `out_bias`, [N, Dout], a row for each expert, which its gate weights. `rope_factor`, `rope_low`, `rope_high`, `rope_context`, `rope_yarn` and `rope_width` are as in rope, and `fp8` is as in linear, for the products with `qkv` and `out`. `residual`, [B, T, Dout], is added to the result by the last product. The result is [B, T, Dout]; f32, f64, or bf16 on a GPU.
---@param qkv tensor|number
---@param out tensor|number
---@param gates? tensor
---@param documents? tensor
---@param positions? tensor
---@param qkv_bias? tensor
---@param out_bias? tensor
---@param residual? tensor
---@param heads integer
---@param kv_heads integer
---@param rope_base? number 10000 by default
---@param scale? number none by default
---@param window? integer 0 by default
---@param rope_factor? number 1 by default
---@param rope_low? number 0 by default
---@param rope_high? number 0 by default
---@param rope_context? number 0 by default
---@param rope_yarn? boolean false by default
---@param rope_width? integer 0 by default
---@param fp8? boolean false by default
---@return tensor
---@overload fun(self: tensor, qkv: tensor|number, out: tensor|number, gates?: tensor, documents?: tensor, positions?: tensor, qkv_bias?: tensor, out_bias?: tensor, residual?: tensor, attributes: { heads: integer, kv_heads: integer, rope_base?: number, scale?: number, window?: integer, rope_factor?: number, rope_low?: number, rope_high?: number, rope_context?: number, rope_yarn?: boolean, rope_width?: integer, fp8?: boolean }): tensor
function tensor:mixture_of_attention(qkv, out, gates, documents, positions, qkv_bias, out_bias, residual, heads, kv_heads, rope_base, scale, window, rope_factor, rope_low, rope_high, rope_context, rope_yarn, rope_width, fp8) end

--- silu(gate) * up (Shazeer 2020), where `x` is [..., 2F] with gate in its first half and up in its second. The result is [..., F]; f32, f64, or bf16 on a GPU. Backward needs only x.
---@return tensor
function tensor:swiglu() end

--- gelu(gate) * up (Shazeer 2020), where `x` is [..., 2F] with gate in its first half and up in its second. The result is [..., F]; f32, f64, or bf16 on a GPU. `approximate` computes GELU by tanh, as in gelu.
---@param approximate? boolean false by default
---@return tensor
---@overload fun(self: tensor, attributes: { approximate?: boolean }): tensor
function tensor:geglu(approximate) end

--- Route each token to the `k` experts with the largest p = softmax(logits) (BAM §4.2). `logits` is [..., N], f32, f64, or bf16 on a GPU. Returns: gates [..., k], the p of the selected experts (divided by their sum with `renormalise`; with `dense` [..., N], 0 for the others); experts [..., k], their positions from 1, largest first; losses [2], load balance and z; statistics [3, N], per expert the share of assignments, the mean of p and the mean of -p ln p, without gradient. The load-balance loss is N * sum(share * mean p), averaged over groups of `aux_tokens` consecutive tokens (0: all tokens are one group); no gradient flows through the share. The z loss is the mean of logsumexp(logits)^2. Tokens where `mask`, bool [...], is false are left out of losses and statistics; groups are weighted by their remaining tokens.
---@param mask? tensor
---@param k integer
---@param renormalise? boolean false by default
---@param dense? boolean false by default
---@param aux_tokens? integer 0 by default
---@return tensor
---@return tensor
---@return tensor
---@return tensor
---@overload fun(self: tensor, mask?: tensor, attributes: { k: integer, renormalise?: boolean, dense?: boolean, aux_tokens?: integer }): tensor, tensor, tensor, tensor
function tensor:route(mask, k, renormalise, dense, aux_tokens) end

--- Sort choices of experts, as `routed_ffn` needs them: `experts`, integers [...] from 1 to `n` (0: none), A of them, give i64 [2 A + n + 1]. The first A are the positions, from 0, of the choices in order of expert, then -1 for choices of none; the next A say where among those each choice is (-1: none); the last say where each expert begins. `routed_ffn` takes this in place of `experts`. On a GPU it must wait for how many tokens each expert has: not for long, if this was called before other work.
---@param n integer
---@return tensor
---@overload fun(self: tensor, attributes: { n: integer }): tensor
function tensor:expert_order(n) end

--- Routed SwiGLU experts (BAM §3.3, §4.2): the sum over j of gates[j] * down[e] (silu(gate[e] x) * (up[e] x)), where e = experts[j]. `x` is [..., D]; `gates` [..., k] and `experts`, integers [..., k] from 1 (0: none), are results of route, or in place of `experts` their expert_order; `gate_up` is [N, 2F, D], gate before up; `down` is [N, Dout, F]. The result is [..., Dout]; f32, f64, or bf16 on a GPU. No token is dropped or padded; an expert may get no tokens. With `gelu` the experts are GeGLU: gelu in place of silu, `approximate` as in gelu.
---@param gates tensor|number
---@param experts tensor|number
---@param gate_up tensor|number
---@param down tensor|number
---@param gelu? boolean false by default
---@param approximate? boolean false by default
---@return tensor
---@overload fun(self: tensor, gates: tensor|number, experts: tensor|number, gate_up: tensor|number, down: tensor|number, attributes: { gelu?: boolean, approximate?: boolean }): tensor
function tensor:routed_ffn(gates, experts, gate_up, down, gelu, approximate) end

--- The mean of -log softmax(logits)[target] over the targets that are not `ignore_index`, or the sum with `sum`. `logits` is [..., V], f32, f64, or bf16 on a GPU; `targets` are integers [...] counted from 0. The result has no dimensions. If all targets are ignored, loss and gradient are 0.
---@param targets tensor|number
---@param ignore_index? integer -100 by default
---@param sum? boolean false by default
---@return tensor
---@overload fun(self: tensor, targets: tensor|number, attributes: { ignore_index?: integer, sum?: boolean }): tensor
function tensor:cross_entropy(targets, ignore_index, sum) end

--- cross_entropy(linear(x, weight), targets) in chunks, so that the logits of at most `chunk` tokens exist at a time. With 0 it is chosen: on the CPU they take at most 100 MB, on a GPU they are 8192 tokens, or fewer that take a 32nd of its memory. `x` is [..., D], `weight` [V, D], f32 or f64, or bf16 on a GPU; `targets` are integers [...] counted from 0; those equal to `ignore_index` do not count. Without `scale` the result is the mean, and backward recomputes the logits. With `scale` it is the sum times `scale`: forward also computes the gradients, adding that of the weight to its gradient buffer, and backward accepts no seed but 1. Training uses scale = 1 / tokens of the whole batch. If all targets are ignored, loss and gradients are 0.
---@param weight tensor|number
---@param targets tensor|number
---@param ignore_index? integer -100 by default
---@param chunk? integer 0 by default
---@param scale? number none by default
---@return tensor
---@overload fun(self: tensor, weight: tensor|number, targets: tensor|number, attributes: { ignore_index?: integer, chunk?: integer, scale?: number }): tensor
function tensor:linear_cross_entropy(weight, targets, ignore_index, chunk, scale) end

---@class bam
---@field version string "major.minor.patch"
local bam = {}

---@overload fun(given: table<string, string|string[]|table>, options: bam.CorpusOptions): bam.Text
bam.corpus = {}

bam.formats = {}

bam.json = {}

bam.loop = {}

bam.merge = {}

bam.models = {}

bam.nn = {}

bam.optim = {}

bam.schedule = {}

bam.tokenizer = {}

--- A tensor from a number, a boolean or nested lists of them. Fractions give f32, integers i64 and
--- booleans bool, unless `dtype` is set. A number that an integer dtype cannot hold (300 in u8, 1.5 in
--- i64, NaN) is an error; x:to truncates and saturates instead.
---
---   local x = bam.tensor { { 1, 2 }, { 3, 4 } } -- i64, shape (2, 2)
---   local y = bam.tensor({ 1, 2 }, { dtype = "f32", requires_grad = true })
---@param values number|boolean|table
---@param options? bam.TensorOptions
---@return tensor
function bam.tensor(values, options) end

--- A tensor of zeros: zeros(2, 3) or zeros { 2, 3 }. f32 by default.
---@param ... integer|integer[]|bam.TensorOptions sizes, then options
---@return tensor
function bam.zeros(...) end

--- A tensor of ones: ones(2, 3) or ones { 2, 3 }. f32 by default.
---@param ... integer|integer[]|bam.TensorOptions sizes, then options
---@return tensor
function bam.ones(...) end

--- An uninitialized tensor: write its elements before reading them. f32 by default.
---@param ... integer|integer[]|bam.TensorOptions sizes, then options
---@return tensor
function bam.empty(...) end

--- A tensor filled with one value: full({ 2, 3 }, 0.5). The dtype follows the value, as in tensor().
---@param sizes integer[]
---@param value number|boolean
---@param options? bam.TensorOptions
---@return tensor
function bam.full(sizes, value, options) end

--- The numbers of a `for` loop, both ends included: arange(last), arange(first, last) or arange(first,
--- last, step), where `first` and `step` are 1 by default. i64 if all arguments are integers, otherwise
--- f32, computed as first + i * step in f64. A value within 2^-50 * max(|first|, |last|) of `last` counts
--- as `last`: arange(0, 0.3, 0.1) has 4 elements.
---@param ... number|bam.TensorOptions one to three numbers, then options
---@return tensor
function bam.arange(...) end

--- `count` evenly spaced numbers, both ends included: first + i * (last - first) / (count - 1), computed
--- in f64 and rounded once; the last is exactly `last`. f32 by default; an integer dtype truncates
--- fractions.
---@param first number
---@param last number
---@param count integer
---@param options? bam.TensorOptions
---@return tensor
function bam.linspace(first, last, count, options) end

--- The identity matrix, [size, size]. f32 by default.
---@param size integer
---@param options? bam.TensorOptions
---@return tensor
function bam.eye(size, options) end

--- Uniform random numbers in [0, 1). f32 by default.
---@param ... integer|integer[]|bam.TensorOptions sizes, then options
---@return tensor
function bam.rand(...) end

--- Normally distributed random numbers with mean 0 and variance 1. f32 by default.
---@param ... integer|integer[]|bam.TensorOptions sizes, then options
---@return tensor
function bam.randn(...) end

--- Random integers from `low` to `high`, both included: randint(1, 6, 10) throws ten dice. i64 by default.
---@param low integer
---@param high integer
---@param ... integer|integer[]|bam.TensorOptions sizes, then options
---@return tensor
function bam.randint(low, high, ...) end

--- The positions 1 to n in random order: x[bam.randperm(#x)] shuffles the rows of x.
---@param n integer
---@param options? bam.TensorOptions the dtype is i64 (default) or i32
---@return tensor
function bam.randperm(n, options) end

--- The bytes of a string as a u8 tensor.
---@param text string
---@return tensor
function bam.bytes(text) end

--- Is `value` a tensor?
---@param value any
---@return boolean
function bam.is_tensor(value) end

--- Call f(...) and release every tensor created meanwhile, except those that f returns (also inside
--- tables) and those kept by x:keep(). Using a released tensor is an error that names the scope.
---
---   local loss = bam.scope(function() return model:loss(ids, targets) end)
---@param f function
---@param ... any arguments of f
---@return any ... results of f
function bam.scope(f, ...) end

--- Seed the random number generator. The same seed gives the same numbers with any number of threads.
---@param seed integer
function bam.seed(seed) end

--- The sum a + b; for two bool tensors, logical or. Shapes broadcast, dtypes promote.
---@param a tensor|number
---@param b tensor|number
---@return tensor
function bam.add(a, b) end

--- The difference a - b. Shapes broadcast, dtypes promote.
---@param a tensor|number
---@param b tensor|number
---@return tensor
function bam.sub(a, b) end

--- The product a * b, element by element; for two bool tensors, logical and. Shapes broadcast, dtypes promote.
---@param a tensor|number
---@param b tensor|number
---@return tensor
function bam.mul(a, b) end

--- The quotient a / b as a float: integers give f32. Shapes broadcast, dtypes promote.
---@param a tensor|number
---@param b tensor|number
---@return tensor
function bam.div(a, b) end

--- The quotient a // b rounded down, as in Lua. An integer divisor of 0 is an error. The gradient is 0. Shapes broadcast, dtypes promote.
---@param a tensor|number
---@param b tensor|number
---@return tensor
function bam.floordiv(a, b) end

--- The remainder a % b with the sign of b, as in Lua. An integer divisor of 0 is an error. Shapes broadcast, dtypes promote.
---@param a tensor|number
---@param b tensor|number
---@return tensor
function bam.mod(a, b) end

--- The power a ^ b; for integers an integer, where b must not be negative. Shapes broadcast, dtypes promote.
---@param a tensor|number
---@param b tensor|number
---@return tensor
function bam.pow(a, b) end

--- The larger of a and b, element by element; NaN if either is NaN. Shapes broadcast, dtypes promote.
---@param a tensor|number
---@param b tensor|number
---@return tensor
function bam.maximum(a, b) end

--- The smaller of a and b, element by element; NaN if either is NaN. Shapes broadcast, dtypes promote.
---@param a tensor|number
---@param b tensor|number
---@return tensor
function bam.minimum(a, b) end

--- -x, element by element.
---@param x tensor|number
---@return tensor
function bam.neg(x) end

--- a == b element by element, as bool. Shapes broadcast, dtypes promote.
---@param a tensor|number
---@param b tensor|number
---@return tensor
function bam.eq(a, b) end

--- a ~= b element by element, as bool. Shapes broadcast, dtypes promote.
---@param a tensor|number
---@param b tensor|number
---@return tensor
function bam.ne(a, b) end

--- a < b element by element, as bool. Shapes broadcast, dtypes promote.
---@param a tensor|number
---@param b tensor|number
---@return tensor
function bam.lt(a, b) end

--- a <= b element by element, as bool. Shapes broadcast, dtypes promote.
---@param a tensor|number
---@param b tensor|number
---@return tensor
function bam.le(a, b) end

--- a > b element by element, as bool. Shapes broadcast, dtypes promote.
---@param a tensor|number
---@param b tensor|number
---@return tensor
function bam.gt(a, b) end

--- a >= b element by element, as bool. Shapes broadcast, dtypes promote.
---@param a tensor|number
---@param b tensor|number
---@return tensor
function bam.ge(a, b) end

--- Is each element NaN? A bool tensor.
---@param x tensor|number
---@return tensor
function bam.isnan(x) end

--- Is each element infinite, of either sign? A bool tensor.
---@param x tensor|number
---@return tensor
function bam.isinf(x) end

--- Is each element neither infinite nor NaN? A bool tensor.
---@param x tensor|number
---@return tensor
function bam.isfinite(x) end

--- a and b, element by element, of bool tensors. Shapes broadcast.
---@param a tensor|number
---@param b tensor|number
---@return tensor
function bam.logical_and(a, b) end

--- a or b, element by element, of bool tensors. Shapes broadcast.
---@param a tensor|number
---@param b tensor|number
---@return tensor
function bam.logical_or(a, b) end

--- a or b but not both, element by element, of bool tensors. Shapes broadcast.
---@param a tensor|number
---@param b tensor|number
---@return tensor
function bam.logical_xor(a, b) end

--- not x, element by element, of a bool tensor.
---@param x tensor|number
---@return tensor
function bam.logical_not(x) end

--- e to the power of each element.
---@param x tensor|number
---@return tensor
function bam.exp(x) end

--- The natural logarithm: -inf at 0, NaN for negative numbers.
---@param x tensor|number
---@return tensor
function bam.log(x) end

--- The square root; NaN for negative numbers.
---@param x tensor|number
---@return tensor
function bam.sqrt(x) end

--- The reciprocal of the square root.
---@param x tensor|number
---@return tensor
function bam.rsqrt(x) end

--- The sine of each element, in radians.
---@param x tensor|number
---@return tensor
function bam.sin(x) end

--- The cosine of each element, in radians.
---@param x tensor|number
---@return tensor
function bam.cos(x) end

--- The hyperbolic tangent.
---@param x tensor|number
---@return tensor
function bam.tanh(x) end

--- The logistic function 1 / (1 + exp(-x)).
---@param x tensor|number
---@return tensor
function bam.sigmoid(x) end

--- log(1 + exp(x)), a smooth relu.
---@param x tensor|number
---@return tensor
function bam.softplus(x) end

--- x * sigmoid(x), also called swish (arXiv:1702.03118).
---@param x tensor|number
---@return tensor
function bam.silu(x) end

--- x times the cumulative normal distribution of x (arXiv:1606.08415). `approximate` uses the tanh formula.
---@param x tensor|number
---@param approximate? boolean false by default
---@return tensor
---@overload fun(x: tensor|number, attributes: { approximate?: boolean }): tensor
function bam.gelu(x, approximate) end

--- x if it is positive, otherwise 0.
---@param x tensor|number
---@return tensor
function bam.relu(x) end

--- The absolute value of each element. Its gradient at 0 is 0.
---@param x tensor|number
---@return tensor
function bam.abs(x) end

--- The sign of each element: -1, 0 or 1, NaN for NaN. The gradient is 0.
---@param x tensor|number
---@return tensor
function bam.sign(x) end

--- Round down to a whole number. Keeps the dtype. The gradient is 0.
---@param x tensor|number
---@return tensor
function bam.floor(x) end

--- Round up to a whole number. Keeps the dtype. The gradient is 0.
---@param x tensor|number
---@return tensor
function bam.ceil(x) end

--- Round to the nearest whole number, halves to even. Keeps the dtype. The gradient is 0.
---@param x tensor|number
---@return tensor
function bam.round(x) end

--- a where the bool `condition` is true, otherwise b. All three broadcast; the dtypes of a and b promote.
---@param condition tensor|number
---@param a tensor|number
---@param b tensor|number
---@return tensor
function bam.where(condition, a, b) end

--- `value` (a number) where the bool `mask` is true, otherwise x. x and mask broadcast; the dtype is that of x.
---@param x tensor|number
---@param mask tensor|number
---@param value tensor|number
---@return tensor
function bam.masked_fill(x, mask, value) end

--- Limit x to at least `min` and at most `max`; at least one of them is required. NaN stays NaN. Integers stay integers if the limits are whole numbers; otherwise the result is f32.
---@param x tensor|number
---@param min? number none by default
---@param max? number none by default
---@return tensor
---@overload fun(x: tensor|number, attributes: { min?: number, max?: number }): tensor
function bam.clamp(x, min, max) end

--- While `training`, set each element to 0 with probability `p` and scale the others by 1 / (1 - p). Otherwise x itself.
---@param x tensor|number
---@param p? number 0.5 by default
---@param training? boolean true by default
---@return tensor
---@overload fun(x: tensor|number, attributes: { p?: number, training?: boolean }): tensor
function bam.dropout(x, p, training) end

--- The same elements in another shape: a view if the strides allow it, otherwise a copy. One size may be -1.
---@param x tensor|number
---@param sizes integer|integer[]
---@return tensor
---@overload fun(x: tensor|number, attributes: { sizes: integer|integer[] }): tensor
function bam.reshape(x, sizes) end

--- The same elements in another shape without copying. An error if the strides do not allow it.
---@param x tensor|number
---@param sizes integer|integer[]
---@return tensor
---@overload fun(x: tensor|number, attributes: { sizes: integer|integer[] }): tensor
function bam.view(x, sizes) end

--- A view with the dimensions in another order: permute(x, { 3, 1, 2 }).
---@param x tensor|number
---@param dims integer|integer[]
---@return tensor
---@overload fun(x: tensor|number, attributes: { dims: integer|integer[] }): tensor
function bam.permute(x, dims) end

--- A view of `length` positions of dimension `dim`, starting at position `start`.
---@param x tensor|number
---@param dim integer
---@param start integer
---@param length integer
---@return tensor
---@overload fun(x: tensor|number, attributes: { dim: integer, start: integer, length: integer }): tensor
function bam.narrow(x, dim, start, length) end

--- A view of one position of dimension `dim`, which is dropped: select(x, 1, 3) is x[3].
---@param x tensor|number
---@param dim integer
---@param position integer
---@return tensor
---@overload fun(x: tensor|number, attributes: { dim: integer, position: integer }): tensor
function bam.select(x, dim, position) end

--- A view with dimensions of size 1 repeated, without copying. -1 keeps a size.
---@param x tensor|number
---@param sizes integer|integer[]
---@return tensor
---@overload fun(x: tensor|number, attributes: { sizes: integer|integer[] }): tensor
function bam.expand(x, sizes) end

--- x in row-major order: x itself if it is contiguous, otherwise a copy.
---@param x tensor|number
---@return tensor
function bam.contiguous(x) end

--- A contiguous copy.
---@param x tensor|number
---@return tensor
function bam.clone(x) end

--- Convert x to a dtype, move it to a device, or both: x:to "f32", x:to "cuda", x:to("f32", "cuda:1"). x itself if nothing changes. Float to integer truncates and saturates; to bool is x ~= 0; bf16 and f16 round to nearest even.
---@param x tensor|number
---@param dtype? dtype none by default
---@param device? device none by default
---@return tensor
---@overload fun(x: tensor|number, attributes: { dtype?: dtype, device?: device }): tensor
function bam.to(x, dtype, device) end

--- The sum over the dimensions `dim` (one, a list, or all of them). Bool and integers are summed in i64. 0 for an empty tensor.
---@param x tensor|number
---@param dim? integer|integer[] none by default
---@param keepdim? boolean false by default
---@return tensor
---@overload fun(x: tensor|number, attributes: { dim?: integer|integer[], keepdim?: boolean }): tensor
function bam.sum(x, dim, keepdim) end

--- The mean over the dimensions `dim` (one, a list, or all of them). f32, f64, or bf16 on a GPU. NaN for an empty tensor.
---@param x tensor|number
---@param dim? integer|integer[] none by default
---@param keepdim? boolean false by default
---@return tensor
---@overload fun(x: tensor|number, attributes: { dim?: integer|integer[], keepdim?: boolean }): tensor
function bam.mean(x, dim, keepdim) end

--- The product over the dimensions `dim` (one, a list, or all of them). Bool and integers are multiplied in i64. 1 for an empty tensor.
---@param x tensor|number
---@param dim? integer|integer[] none by default
---@param keepdim? boolean false by default
---@return tensor
---@overload fun(x: tensor|number, attributes: { dim?: integer|integer[], keepdim?: boolean }): tensor
function bam.prod(x, dim, keepdim) end

--- Is any element over the dimensions `dim` (one, a list, or all of them) nonzero? A bool tensor; false for an empty one.
---@param x tensor|number
---@param dim? integer|integer[] none by default
---@param keepdim? boolean false by default
---@return tensor
---@overload fun(x: tensor|number, attributes: { dim?: integer|integer[], keepdim?: boolean }): tensor
function bam.any(x, dim, keepdim) end

--- Are all elements over the dimensions `dim` (one, a list, or all of them) nonzero? A bool tensor; true for an empty one.
---@param x tensor|number
---@param dim? integer|integer[] none by default
---@param keepdim? boolean false by default
---@return tensor
---@overload fun(x: tensor|number, attributes: { dim?: integer|integer[], keepdim?: boolean }): tensor
function bam.all(x, dim, keepdim) end

--- The largest element over the dimensions `dim` (one, a list, or all of them); NaN if there is one. The first of equal elements receives the gradient. See maximum for two tensors and argmax for the position.
---@param x tensor|number
---@param dim? integer|integer[] none by default
---@param keepdim? boolean false by default
---@return tensor
---@overload fun(x: tensor|number, attributes: { dim?: integer|integer[], keepdim?: boolean }): tensor
function bam.max(x, dim, keepdim) end

--- The smallest element over the dimensions `dim` (one, a list, or all of them); NaN if there is one. The first of equal elements receives the gradient. See minimum for two tensors and argmin for the position.
---@param x tensor|number
---@param dim? integer|integer[] none by default
---@param keepdim? boolean false by default
---@return tensor
---@overload fun(x: tensor|number, attributes: { dim?: integer|integer[], keepdim?: boolean }): tensor
function bam.min(x, dim, keepdim) end

--- The position of the first largest element along `dim`, counted from 1, as i64. Without `dim`, the position in the flattened tensor. NaN counts as largest.
---@param x tensor|number
---@param dim? integer none by default
---@param keepdim? boolean false by default
---@return tensor
---@overload fun(x: tensor|number, attributes: { dim?: integer, keepdim?: boolean }): tensor
function bam.argmax(x, dim, keepdim) end

--- The position of the first smallest element along `dim`, counted from 1, as i64. Without `dim`, the position in the flattened tensor. NaN counts as smallest.
---@param x tensor|number
---@param dim? integer none by default
---@param keepdim? boolean false by default
---@return tensor
---@overload fun(x: tensor|number, attributes: { dim?: integer, keepdim?: boolean }): tensor
function bam.argmin(x, dim, keepdim) end

--- The variance over the dimensions `dim` (one, a list, or all of them): the sum of squared deviations divided by n - `correction` (1: unbiased; 0: population variance). f32, f64, or bf16 on a GPU.
---@param x tensor|number
---@param dim? integer|integer[] none by default
---@param keepdim? boolean false by default
---@param correction? number 1 by default
---@return tensor
---@overload fun(x: tensor|number, attributes: { dim?: integer|integer[], keepdim?: boolean, correction?: number }): tensor
function bam.var(x, dim, keepdim, correction) end

--- The vector norm over the dimensions `dim` (one, a list, or all of them): p = 2 (Euclidean), 1 (sum of absolute values) or math.huge (largest absolute value; the first of equals receives the gradient). f32 or f64. The gradient at 0 is 0.
---@param x tensor|number
---@param dim? integer|integer[] none by default
---@param keepdim? boolean false by default
---@param p? number 2 by default
---@return tensor
---@overload fun(x: tensor|number, attributes: { dim?: integer|integer[], keepdim?: boolean, p?: number }): tensor
function bam.norm(x, dim, keepdim, p) end

--- The cumulative sum along `dim`. Bool and integers are summed in i64.
---@param x tensor|number
---@param dim integer
---@return tensor
---@overload fun(x: tensor|number, attributes: { dim: integer }): tensor
function bam.cumsum(x, dim) end

--- exp(x) / sum(exp(x)) along `dim`. f32, f64, or bf16 on a GPU. NaN where all of x is -inf.
---@param x tensor|number
---@param dim? integer -1 by default
---@return tensor
---@overload fun(x: tensor|number, attributes: { dim?: integer }): tensor
function bam.softmax(x, dim) end

--- log(softmax(x)) along `dim`, computed without loss of precision. f32, f64, or bf16 on a GPU.
---@param x tensor|number
---@param dim? integer -1 by default
---@return tensor
---@overload fun(x: tensor|number, attributes: { dim?: integer }): tensor
function bam.log_softmax(x, dim) end

--- log(sum(exp(x))) over the dimensions `dim` (one, a list, or all of them), without overflow. f32, f64, or bf16 on a GPU. -inf for an empty tensor.
---@param x tensor|number
---@param dim? integer|integer[] none by default
---@param keepdim? boolean false by default
---@return tensor
---@overload fun(x: tensor|number, attributes: { dim?: integer|integer[], keepdim?: boolean }): tensor
function bam.logsumexp(x, dim, keepdim) end

--- The matrix product: (m, k) x (k, n) gives (m, n). Leading dimensions are batches and broadcast. A 1-dimensional operand is a row on the left and a column on the right; that dimension is dropped from the result. f32, f64, or bf16 on a GPU.
---@param a tensor|number
---@param b tensor|number
---@return tensor
function bam.matmul(a, b) end

--- The slices of x at `positions` (integers [n] from 1, repeats allowed) along `dim`.
---@param x tensor|number
---@param positions tensor|number
---@param dim? integer 1 by default
---@return tensor
---@overload fun(x: tensor|number, positions: tensor|number, attributes: { dim?: integer }): tensor
function bam.index_select(x, positions, dim) end

--- x with slices of `source` added at `positions` (integers [n] from 1) along `dim`. Repeated positions accumulate, in order.
---@param x tensor|number
---@param positions tensor|number
---@param source tensor|number
---@param dim? integer 1 by default
---@return tensor
---@overload fun(x: tensor|number, positions: tensor|number, source: tensor|number, attributes: { dim?: integer }): tensor
function bam.index_add(x, positions, source, dim) end

--- Pick elements along `dim` by position (integers from 1): y[i, j] = x[positions[i, j], j] for dim 1. `positions` has the shape of x in all other dimensions.
---@param x tensor|number
---@param positions tensor|number
---@param dim integer
---@return tensor
---@overload fun(x: tensor|number, positions: tensor|number, attributes: { dim: integer }): tensor
function bam.gather(x, positions, dim) end

--- x with each element of `source` added at its position (integers from 1) along `dim`: y[positions[i, j], j] += source[i, j] for dim 1. Repeated positions accumulate, in order.
---@param x tensor|number
---@param positions tensor|number
---@param source tensor|number
---@param dim integer
---@return tensor
---@overload fun(x: tensor|number, positions: tensor|number, source: tensor|number, attributes: { dim: integer }): tensor
function bam.scatter_add(x, positions, source, dim) end

--- The elements of x where the bool `mask` is true, in order. If mask has the shape of x, the result is [n]; if it has the shape of the first dimensions of x, the result is [n, remaining dimensions].
---@param x tensor|number
---@param mask tensor|number
---@return tensor
function bam.masked_select(x, mask) end

--- One-hot vectors of `positions` (integers from 1 to `n`) in a new last dimension of size `n`, as i64.
---@param positions tensor|number
---@param n integer
---@return tensor
---@overload fun(positions: tensor|number, attributes: { n: integer }): tensor
function bam.one_hot(positions, n) end

--- Sort x along `dim`. Returns the sorted tensor and the positions, from 1, of its elements in x. The sort is stable; NaN counts as largest.
---@param x tensor|number
---@param dim? integer -1 by default
---@param descending? boolean false by default
---@return tensor
---@return tensor
---@overload fun(x: tensor|number, attributes: { dim?: integer, descending?: boolean }): tensor, tensor
function bam.sort(x, dim, descending) end

--- The `k` largest elements along `dim` (with largest = false, the smallest), most extreme first, and their positions from 1. Of equal elements the first are taken; NaN counts as largest.
---@param x tensor|number
---@param k integer
---@param dim? integer -1 by default
---@param largest? boolean true by default
---@return tensor
---@return tensor
---@overload fun(x: tensor|number, attributes: { k: integer, dim?: integer, largest?: boolean }): tensor, tensor
function bam.topk(x, k, dim, largest) end

--- Concatenate tensors along an existing dimension. Their other sizes must be equal. The dtype is the smallest that holds all of them.
---@param tensors tensor[]
---@param dim? integer 1 by default
---@return tensor
---@overload fun(tensors: tensor[], attributes: { dim?: integer }): tensor
function bam.concat(tensors, dim) end

--- Stack tensors of equal shape along a new dimension `dim`. The dtype is the smallest that holds all of them.
---@param tensors tensor[]
---@param dim? integer 1 by default
---@return tensor
---@overload fun(tensors: tensor[], attributes: { dim?: integer }): tensor
function bam.stack(tensors, dim) end

--- Pad x with `value`: `before[d]` elements in front of dimension d and `after[d]` behind it. Each list has one entry per dimension; one that is not given is all 0.
---@param x tensor|number
---@param before? integer|integer[] none by default
---@param after? integer|integer[] none by default
---@param value? number 0 by default
---@return tensor
---@overload fun(x: tensor|number, attributes: { before?: integer|integer[], after?: integer|integer[], value?: number }): tensor
function bam.pad(x, before, after, value) end

--- Reverse the order along the dimensions `dim` (one, a list, or all of them); a copy.
---@param x tensor|number
---@param dim? integer|integer[] none by default
---@return tensor
---@overload fun(x: tensor|number, attributes: { dim?: integer|integer[] }): tensor
function bam.flip(x, dim) end

--- Shift x by `shift` positions along `dim`; elements that leave at one end enter at the other.
---@param x tensor|number
---@param shift integer
---@param dim? integer 1 by default
---@return tensor
---@overload fun(x: tensor|number, attributes: { shift: integer, dim?: integer }): tensor
function bam.roll(x, shift, dim) end

--- x with zeros above a diagonal of its last two dimensions: `diagonal` 0 is the main one, 1 the one above it, -1 the one below.
---@param x tensor|number
---@param diagonal? integer 0 by default
---@return tensor
---@overload fun(x: tensor|number, attributes: { diagonal?: integer }): tensor
function bam.tril(x, diagonal) end

--- x with zeros below a diagonal of its last two dimensions: `diagonal` 0 is the main one, 1 the one above it, -1 the one below.
---@param x tensor|number
---@param diagonal? integer 0 by default
---@return tensor
---@overload fun(x: tensor|number, attributes: { diagonal?: integer }): tensor
function bam.triu(x, diagonal) end

--- Look up rows by token id: y[..., :] = weight[ids[...]]. `ids` are integers of any shape, counted from 0; `weight` is [V, D], f32, f64, or bf16 on a GPU; the result is [..., D].
---@param ids tensor|number
---@param weight tensor|number
---@return tensor
function bam.embedding(ids, weight) end

--- Layer normalization over the last dimension: (x - mean) / sqrt(var + eps) * weight + bias. `x` is [..., D], `weight` and `bias` are [D]; f32, f64, or bf16 on a GPU.
---@param x tensor|number
---@param weight tensor|number
---@param bias? tensor
---@param eps? number 1e-05 by default
---@return tensor
---@overload fun(x: tensor|number, weight: tensor|number, bias?: tensor, attributes: { eps?: number }): tensor
function bam.layer_norm(x, weight, bias, eps) end

--- layer_norm(x + residual) in one pass. Returns the normalized sum and the sum itself, for the residual stream. `x` and `residual` are [..., D], `weight` and `bias` [D]; f32, f64, or bf16 on a GPU.
---@param x tensor|number
---@param residual tensor|number
---@param weight tensor|number
---@param bias? tensor
---@param eps? number 1e-05 by default
---@return tensor
---@return tensor
---@overload fun(x: tensor|number, residual: tensor|number, weight: tensor|number, bias?: tensor, attributes: { eps?: number }): tensor, tensor
function bam.add_layer_norm(x, residual, weight, bias, eps) end

--- RMS normalization over the last dimension (Zhang and Sennrich 2019): x / sqrt(mean(x²) + eps) * weight. `x` is [..., D], `weight` is [D]; f32, f64, or bf16 on a GPU.
---@param x tensor|number
---@param weight tensor|number
---@param eps? number 1e-05 by default
---@return tensor
---@overload fun(x: tensor|number, weight: tensor|number, attributes: { eps?: number }): tensor
function bam.rms_norm(x, weight, eps) end

--- rms_norm(x + residual) in one pass. Returns the normalized sum and the sum itself, for the residual stream. `x` and `residual` are [..., D], `weight` is [D]; f32, f64, or bf16 on a GPU.
---@param x tensor|number
---@param residual tensor|number
---@param weight tensor|number
---@param eps? number 1e-05 by default
---@return tensor
---@return tensor
---@overload fun(x: tensor|number, residual: tensor|number, weight: tensor|number, attributes: { eps?: number }): tensor, tensor
function bam.add_rms_norm(x, residual, weight, eps) end

--- x weightᵀ + bias. `x` is [..., in], `weight` [out, in], `bias` [out]; the result is [..., out]. f32 or f64, or bf16 where the device computes in it; then `dtype` may be f32, for a result that is not rounded. With `fp8` the operands of the products, bf16, are rounded to FP8, each tensor with a scale of its own: x and weight to E4M3, the gradient of the result to E5M2; not where a size is not a multiple of 16.
---@param x tensor|number
---@param weight tensor|number
---@param bias? tensor
---@param dtype? dtype none by default
---@param fp8? boolean false by default
---@return tensor
---@overload fun(x: tensor|number, weight: tensor|number, bias?: tensor, attributes: { dtype?: dtype, fp8?: boolean }): tensor
function bam.linear(x, weight, bias, dtype, fp8) end

--- residual + x weightᵀ + bias: `linear` whose product adds to `residual`, [..., out], in no pass of its own. Rounded once in bf16. `fp8` is as in linear.
---@param x tensor|number
---@param weight tensor|number
---@param residual tensor|number
---@param bias? tensor
---@param fp8? boolean false by default
---@return tensor
---@overload fun(x: tensor|number, weight: tensor|number, residual: tensor|number, bias?: tensor, attributes: { fp8?: boolean }): tensor
function bam.add_linear(x, weight, residual, bias, fp8) end

--- Rotary position embedding, interleaved (Su et al. 2021): rotate the pairs (2i, 2i + 1) of each head by position * base^(-2i / K). `x` is [B, T, H, K], f32, f64, or bf16 on a GPU; `positions` are integers [T] or [B, T] counted from 0, or their rope_table; 0 to T - 1 by default. `rope_factor` divides the frequencies. With `rope_context` they are scaled as in Llama 3: pairs that turn more than `rope_high` times within the context keep their frequency, those that turn less than `rope_low` times have it divided, and between the two is interpolated; `rope_yarn` interpolates by the number of the pair, as YaRN does. Only the first `rope_width` elements of a head rotate, 0: all.
---@param x tensor|number
---@param positions? tensor
---@param base? number 10000 by default
---@param rope_factor? number 1 by default
---@param rope_low? number 0 by default
---@param rope_high? number 0 by default
---@param rope_context? number 0 by default
---@param rope_yarn? boolean false by default
---@param rope_width? integer 0 by default
---@return tensor
---@overload fun(x: tensor|number, positions?: tensor, attributes: { base?: number, rope_factor?: number, rope_low?: number, rope_high?: number, rope_context?: number, rope_yarn?: boolean, rope_width?: integer }): tensor
function bam.rope(x, positions, base, rope_factor, rope_low, rope_high, rope_context, rope_yarn, rope_width) end

--- cos and sin of the angles by which `rope` rotates heads of `width` elements at `positions`, integers [T] or [B, T]: [T, width / 2, 2] or [B, T, width / 2, 2], f32 or f64. Where `rope` and `mixture_of_attention` take `positions` they take this too, made with their base and scaling, and do not compute it again: once per batch is enough for all layers. f32 for x in f32 or bf16, f64 for x in f64. `rope_factor` divides the frequencies. With `rope_context` they are scaled as in Llama 3: pairs that turn more than `rope_high` times within the context keep their frequency, those that turn less than `rope_low` times have it divided, and between the two is interpolated; `rope_yarn` interpolates by the number of the pair, as YaRN does. Only the first `rope_width` elements of a head rotate, 0: all.
---@param positions tensor|number
---@param width integer
---@param base? number 10000 by default
---@param rope_factor? number 1 by default
---@param rope_low? number 0 by default
---@param rope_high? number 0 by default
---@param rope_context? number 0 by default
---@param rope_yarn? boolean false by default
---@param rope_width? integer 0 by default
---@param dtype? dtype none by default
---@return tensor
---@overload fun(positions: tensor|number, attributes: { width: integer, base?: number, rope_factor?: number, rope_low?: number, rope_high?: number, rope_context?: number, rope_yarn?: boolean, rope_width?: integer, dtype?: dtype }): tensor
function bam.rope_table(positions, width, base, rope_factor, rope_low, rope_high, rope_context, rope_yarn, rope_width, dtype) end

--- Causal scaled dot-product attention, softmax(q kᵀ * scale) v, without a T×T matrix (Dao 2023). `q` is [B, T, H, K], `k` and `v` are [B, T, G, K], where H is a multiple of G: query head h uses key head floor(h / (H / G)) (grouped-query attention, Ainslie et al. 2023). `documents`, integers [B, T], restricts each token to its own document, `window` to as many tokens, itself counted (0: all). `scale` is 1 / sqrt(K) by default. The result is [B, T, H, K]; f32, f64, or bf16 on a GPU. Slices of one QKV product are read without copying.
---@param q tensor|number
---@param k tensor|number
---@param v tensor|number
---@param documents? tensor
---@param scale? number none by default
---@param window? integer 0 by default
---@return tensor
---@overload fun(q: tensor|number, k: tensor|number, v: tensor|number, documents?: tensor, attributes: { scale?: number, window?: integer }): tensor
function bam.attention(q, k, v, documents, scale, window) end

--- The position, from 0, of the first token of each token's document, for `documents`, integers [B, T]: i32 [B, T]. Where `attention` and `mixture_of_attention` take `documents` they take this too, and do not compute it again: once per batch is enough for all layers.
---@param documents tensor|number
---@return tensor
function bam.document_starts(documents) end

--- N attention experts mixed by gates (BAM §3.4, §4.1): the sum over n of gates[n] * (causal attention of expert n, projected), computed as one attention over the heads of all experts. `x` is [B, T, D], `gates` [B, T, N] (not needed for a single expert). Each expert has `heads` query heads and `kv_heads` key and value heads of width K. `qkv` stacks the rows of all queries, keys and values, K per head: query heads in the order (KV head, expert, head); key and value heads in the order (KV head, expert), or only `kv_heads` if the experts share them. `out` is [Dout, N * heads * K]. RoPE with `rope_base` (0: none) uses `positions`, integers [T] or [B, T] or their rope_table, 0 to T - 1 by default. `documents`, integers [B, T], restricts each token to its own document, `window` to as many tokens, itself counted (0: all). `scale` is 1 / sqrt(K) by default. `qkv_bias` has one element per row of `qkv`, and `out_bias`, [N, Dout], a row for each expert, which its gate weights. `rope_factor`, `rope_low`, `rope_high`, `rope_context`, `rope_yarn` and `rope_width` are as in rope, and `fp8` is as in linear, for the products with `qkv` and `out`. `residual`, [B, T, Dout], is added to the result by the last product. The result is [B, T, Dout]; f32, f64, or bf16 on a GPU.
---@param x tensor|number
---@param qkv tensor|number
---@param out tensor|number
---@param gates? tensor
---@param documents? tensor
---@param positions? tensor
---@param qkv_bias? tensor
---@param out_bias? tensor
---@param residual? tensor
---@param heads integer
---@param kv_heads integer
---@param rope_base? number 10000 by default
---@param scale? number none by default
---@param window? integer 0 by default
---@param rope_factor? number 1 by default
---@param rope_low? number 0 by default
---@param rope_high? number 0 by default
---@param rope_context? number 0 by default
---@param rope_yarn? boolean false by default
---@param rope_width? integer 0 by default
---@param fp8? boolean false by default
---@return tensor
---@overload fun(x: tensor|number, qkv: tensor|number, out: tensor|number, gates?: tensor, documents?: tensor, positions?: tensor, qkv_bias?: tensor, out_bias?: tensor, residual?: tensor, attributes: { heads: integer, kv_heads: integer, rope_base?: number, scale?: number, window?: integer, rope_factor?: number, rope_low?: number, rope_high?: number, rope_context?: number, rope_yarn?: boolean, rope_width?: integer, fp8?: boolean }): tensor
function bam.mixture_of_attention(x, qkv, out, gates, documents, positions, qkv_bias, out_bias, residual, heads, kv_heads, rope_base, scale, window, rope_factor, rope_low, rope_high, rope_context, rope_yarn, rope_width, fp8) end

--- silu(gate) * up (Shazeer 2020), where `x` is [..., 2F] with gate in its first half and up in its second. The result is [..., F]; f32, f64, or bf16 on a GPU. Backward needs only x.
---@param x tensor|number
---@return tensor
function bam.swiglu(x) end

--- gelu(gate) * up (Shazeer 2020), where `x` is [..., 2F] with gate in its first half and up in its second. The result is [..., F]; f32, f64, or bf16 on a GPU. `approximate` computes GELU by tanh, as in gelu.
---@param x tensor|number
---@param approximate? boolean false by default
---@return tensor
---@overload fun(x: tensor|number, attributes: { approximate?: boolean }): tensor
function bam.geglu(x, approximate) end

--- Route each token to the `k` experts with the largest p = softmax(logits) (BAM §4.2). `logits` is [..., N], f32, f64, or bf16 on a GPU. Returns: gates [..., k], the p of the selected experts (divided by their sum with `renormalise`; with `dense` [..., N], 0 for the others); experts [..., k], their positions from 1, largest first; losses [2], load balance and z; statistics [3, N], per expert the share of assignments, the mean of p and the mean of -p ln p, without gradient. The load-balance loss is N * sum(share * mean p), averaged over groups of `aux_tokens` consecutive tokens (0: all tokens are one group); no gradient flows through the share. The z loss is the mean of logsumexp(logits)^2. Tokens where `mask`, bool [...], is false are left out of losses and statistics; groups are weighted by their remaining tokens.
---@param logits tensor|number
---@param mask? tensor
---@param k integer
---@param renormalise? boolean false by default
---@param dense? boolean false by default
---@param aux_tokens? integer 0 by default
---@return tensor
---@return tensor
---@return tensor
---@return tensor
---@overload fun(logits: tensor|number, mask?: tensor, attributes: { k: integer, renormalise?: boolean, dense?: boolean, aux_tokens?: integer }): tensor, tensor, tensor, tensor
function bam.route(logits, mask, k, renormalise, dense, aux_tokens) end

--- Sort choices of experts, as `routed_ffn` needs them: `experts`, integers [...] from 1 to `n` (0: none), A of them, give i64 [2 A + n + 1]. The first A are the positions, from 0, of the choices in order of expert, then -1 for choices of none; the next A say where among those each choice is (-1: none); the last say where each expert begins. `routed_ffn` takes this in place of `experts`. On a GPU it must wait for how many tokens each expert has: not for long, if this was called before other work.
---@param experts tensor|number
---@param n integer
---@return tensor
---@overload fun(experts: tensor|number, attributes: { n: integer }): tensor
function bam.expert_order(experts, n) end

--- Routed SwiGLU experts (BAM §3.3, §4.2): the sum over j of gates[j] * down[e] (silu(gate[e] x) * (up[e] x)), where e = experts[j]. `x` is [..., D]; `gates` [..., k] and `experts`, integers [..., k] from 1 (0: none), are results of route, or in place of `experts` their expert_order; `gate_up` is [N, 2F, D], gate before up; `down` is [N, Dout, F]. The result is [..., Dout]; f32, f64, or bf16 on a GPU. No token is dropped or padded; an expert may get no tokens. With `gelu` the experts are GeGLU: gelu in place of silu, `approximate` as in gelu.
---@param x tensor|number
---@param gates tensor|number
---@param experts tensor|number
---@param gate_up tensor|number
---@param down tensor|number
---@param gelu? boolean false by default
---@param approximate? boolean false by default
---@return tensor
---@overload fun(x: tensor|number, gates: tensor|number, experts: tensor|number, gate_up: tensor|number, down: tensor|number, attributes: { gelu?: boolean, approximate?: boolean }): tensor
function bam.routed_ffn(x, gates, experts, gate_up, down, gelu, approximate) end

--- The mean of -log softmax(logits)[target] over the targets that are not `ignore_index`, or the sum with `sum`. `logits` is [..., V], f32, f64, or bf16 on a GPU; `targets` are integers [...] counted from 0. The result has no dimensions. If all targets are ignored, loss and gradient are 0.
---@param logits tensor|number
---@param targets tensor|number
---@param ignore_index? integer -100 by default
---@param sum? boolean false by default
---@return tensor
---@overload fun(logits: tensor|number, targets: tensor|number, attributes: { ignore_index?: integer, sum?: boolean }): tensor
function bam.cross_entropy(logits, targets, ignore_index, sum) end

--- cross_entropy(linear(x, weight), targets) in chunks, so that the logits of at most `chunk` tokens exist at a time. With 0 it is chosen: on the CPU they take at most 100 MB, on a GPU they are 8192 tokens, or fewer that take a 32nd of its memory. `x` is [..., D], `weight` [V, D], f32 or f64, or bf16 on a GPU; `targets` are integers [...] counted from 0; those equal to `ignore_index` do not count. Without `scale` the result is the mean, and backward recomputes the logits. With `scale` it is the sum times `scale`: forward also computes the gradients, adding that of the weight to its gradient buffer, and backward accepts no seed but 1. Training uses scale = 1 / tokens of the whole batch. If all targets are ignored, loss and gradients are 0.
---@param x tensor|number
---@param weight tensor|number
---@param targets tensor|number
---@param ignore_index? integer -100 by default
---@param chunk? integer 0 by default
---@param scale? number none by default
---@return tensor
---@overload fun(x: tensor|number, weight: tensor|number, targets: tensor|number, attributes: { ignore_index?: integer, chunk?: integer, scale?: number }): tensor
function bam.linear_cross_entropy(x, weight, targets, ignore_index, chunk, scale) end

--- Call f(...) without recording: results do not require a gradient, and leaves may be changed in place.
---@param f function
---@param ... any arguments of f
---@return any ... results of f
function bam.no_grad(f, ...) end

--- Call f(...) with recording switched on, even inside no_grad.
---@param f function
---@param ... any arguments of f
---@return any ... results of f
function bam.enable_grad(f, ...) end

--- Define an op in Lua. forward(ctx, ...) runs without recording and returns tensors; what it stores in the table
--- ctx is available in backward(ctx, ...), and tensors in it must not be changed in place before that. backward
--- receives one gradient per output (nil if none arrived), which it must not change, and returns one gradient (or
--- nil) per tensor argument, in order.
---
---   local square = bam.custom {
---     forward = function(ctx, x) ctx.x = x return x * x end,
---     backward = function(ctx, grad) return grad * ctx.x * 2 end,
---   }
---   local y = square(x)
---@param spec { forward: function, backward: function, name?: string }
---@return function op
function bam.custom(spec) end

--- Call f(...) without keeping intermediate results: backward runs f again. Random numbers are the same in both
--- runs. Gradients of parameters that f uses are collected as usual. f may use other results of the graph if they
--- are the same in both runs.
---@param f function from tensors (and other arguments) to tensors
---@param ... any arguments of f
---@return tensor ... results of f
function bam.checkpoint(f, ...) end

--- Compare the gradients of fn(table.unpack(inputs)) with central differences, for every input that requires a
--- gradient. These inputs must be f64 and contiguous. A difference is an error that names the element.
---@param fn function from tensors to one or more tensors
---@param inputs tensor[]
---@param options? { eps?: number, tolerance?: number } eps is 1e-6 and tolerance, relative to 1 + the gradient, 1e-5 by default
---@return boolean true
function bam.gradcheck(fn, inputs, options) end

--- Run f(...) and record every op in it: calls, time, FLOPs, bytes. print(profile) shows a table. The time of an op is
--- without that of ops inside it; what is left is `outside`, so that the rows add up to the whole. FLOPs count
--- matrix products and attention, 2 per multiply-add; bytes are the sizes of inputs and outputs.
--- Recording costs about a microsecond per op. On a GPU every op is waited for, so the whole is slower than without.
---
---   local profile = bam.profile(function() for _ = 1, 10 do step() end end)
---   print(profile)
---   profile:save "trace.json" -- for ui.perfetto.dev
---@param f function
---@param ... any its arguments
---@return bam.Profile
function bam.profile(f, ...) end

--- Switch checks on or off. With nan = true the first op, forward or backward, that produces a NaN raises an error
--- with its name and the line of the script. Slow. With traces = true tracebacks show bam's own lines too.
---@param options { nan?: boolean, traces?: boolean } what is left out stays as it is
function bam.debug(options) end

--- Is `value` a module?
---@param value any
---@return boolean
function bam.nn.is_module(value) end

--- Create a class of modules. Give it methods init(...) and forward(...).
---
---   local Block = nn.module "Block"
---   function Block:init(width) self.norm = nn.LayerNorm(width) end
---   function Block:forward(x) return x + self.norm(x) end
---   local block = Block(64)
---@param name string
---@param base? table class to inherit from, nn.Module by default
---@return table class call it to make a module
function bam.nn.module(name, base) end

bam.nn.Module = bam_nn_Module

bam.nn.Attention = bam_nn_Attention

bam.nn.Dropout = bam_nn_Dropout

bam.nn.Embedding = bam_nn_Embedding

bam.nn.LayerNorm = bam_nn_LayerNorm

bam.nn.Linear = bam_nn_Linear

bam.nn.MixtureOfAttention = bam_nn_MixtureOfAttention

bam.nn.RMSNorm = bam_nn_RMSNorm

bam.nn.RoutedFFN = bam_nn_RoutedFFN

bam.nn.RoutedModules = bam_nn_RoutedModules

bam.nn.Router = bam_nn_Router

bam.nn.Sequential = bam_nn_Sequential

bam.nn.SwiGLU = bam_nn_SwiGLU

--- Adam with decoupled weight decay. The bias correction of a parameter's moments uses the number of steps
--- in which it was trained.
---@param params table a module, or a list of tensors or groups
---@param options? optim.AdamWOptions
---@return bam.optim.Optimizer
function bam.optim.AdamW(params, options) end

--- The sign of an interpolation of momentum and gradient, with decoupled weight decay. It keeps half the
--- state of AdamW. The paper uses learning rates 3 to 10 times smaller than for AdamW, and weight decay larger
--- by the same factor.
---@param params table a module, or a list of tensors or groups
---@param options? optim.LionOptions
---@return bam.optim.Optimizer
function bam.optim.Lion(params, options) end

--- Momentum orthogonalized by Newton-Schulz iterations. It updates the matrices of hidden layers; AdamW updates
--- embeddings, head, routers, norms and biases. With adjust_lr = "match_rms_adamw" learning rates and weight
--- decay are those of AdamW; with "original" they are larger: give AdamW its own, adamw = { lr_scale = 0.1 }.
--- Matrices that a layer stacks in one parameter (queries, keys, values; gate and up; experts) are separate: a
--- layer of your own lists them in a method matrices(x, key).
---@param params table a module, or a list of tensors or groups
---@param options? optim.MuonOptions
---@return bam.optim.Optimizer
function bam.optim.Muon(params, options) end

--- Stochastic gradient descent with momentum, as in PyTorch.
---@param params table a module, or a list of tensors or groups
---@param options? optim.SGDOptions
---@return bam.optim.Optimizer
function bam.optim.SGD(params, options) end

--- Define an optimizer: the state it keeps for each parameter, and how a step changes a parameter. The result is
--- called to make an optimizer, and may be an option of bam.train. A step whose new values have the wrong shape or
--- are not finite is an error and changes nothing.
---
---   local Sign = bam.optim.define {
---     name = "Sign", options = { lr = { "rate", 1e-3 } },
---     update = function(param, grad, state, o) return param - grad:sign() * o.lr end,
---   }
---   local opt = Sign(model, { lr = 0.1 })
---@param what optim.Definition
---@return table definition
function bam.optim.define(what) end

bam.optim.Optimizer = bam_optim_Optimizer

--- A constant value, optionally after a warm-up: constant(0.1), or with options.
---@param options schedule.constantOptions|number
---@return schedule
function bam.schedule.constant(options) end

--- Half a cosine from `peak` down to `floor` * `peak`.
---@param options schedule.cosineOptions
---@return schedule
function bam.schedule.cosine(options) end

--- Define a kind of schedule. Calling the result creates schedules. The fingerprint of a phase covers a schedule by its
--- values at all steps.
---
---   local step_down = bam.schedule.define {
---     name = "step_down", options = { high = { "number" }, low = { "number" } },
---     value = function(o, progress) return progress < 0.5 and o.high or o.low end,
---   }
---   local lr = step_down { high = 1e-3, low = 1e-4, warmup = 0.03 }
---@param what schedule.Definition
---@return table kind
function bam.schedule.define(what) end

--- A schedule as data: a hash of its values at every step of a run.
---@param s schedule
---@param total integer steps of the run
---@return { first: number, last: number, digest: string }
function bam.schedule.digest(s, total) end

--- A hash of a list of numbers, such as the values of a schedule.
---@param numbers number[]
---@return string hex
function bam.schedule.hash(numbers) end

--- Is `x` a schedule?
---@param x any
---@return boolean
function bam.schedule.is(x) end

--- A straight line from one value to another.
---@param options schedule.linearOptions
---@return schedule
function bam.schedule.linear(options) end

--- Convert to a schedule: a number is constant, a function is called with the progress, a schedule is returned as
--- it is.
---@param x number|function|schedule
---@param convert? fun(value: any): any applied to the results of a function
---@return schedule
function bam.schedule.of(x, convert) end

--- Straight lines between points { progress, value }. Two points with the same progress make a jump. The value is
--- constant before the first point and after the last one.
---@param points number[][]
---@return schedule
function bam.schedule.piecewise(points) end

--- Schedules one after another, each over its share of the run: { { 0.2, a }, { 0.8, b } }.
---@param parts table[] pairs of a share and a schedule (or a number, or a function of progress)
---@return schedule
function bam.schedule.sequence(parts) end

--- Warm-up, stable, decay: constant at `peak` up to the last part of the run, then down to `floor` * `peak`.
---@param options schedule.wsdOptions
---@return schedule
function bam.schedule.wsd(options) end

--- Define a block. The result describes dense models of such blocks, as bam.models.parallel does; they are trained,
--- saved and mixed like others. The code of `forward` is part of the fingerprint of phases. bam.load needs the
--- definition.
---@param what models.BlockDefinition
---@return table definition
function bam.models.define(what) end

--- Describe a dense model of parallel blocks: one LayerNorm, then attention and SwiGLU side by side; no biases,
--- RoPE (BAM §3.1, Table 8). Nothing is allocated before description:build().
---@param options models.parallelOptions
---@return bam.Description
function bam.models.parallel(options) end

--- Describe a dense model of post-norm blocks, as in OLMo 2: attention and the FFN read the residual stream as
--- it is, and what they give is normalized and added. Nothing is allocated before description:build().
---@param options models.post_normOptions
---@return bam.Description
function bam.models.post_norm(options) end

--- Describe a dense model of sequential blocks, as in GPT-2 and Llama: a norm and attention, then a norm and
--- the FFN, each added to the residual stream. Nothing is allocated before description:build().
---@param options models.sequentialOptions
---@return bam.Description
function bam.models.sequential(options) end

--- Describe a mixture of dense models (BAM §4): attention and FFN experts are taken from the models, routers are
--- random, everything else is merged: averaged, unless `merge` says otherwise. The first model is the seed.
---
---   local mixture = bam.mix { experts = { seed, law, code }, attention = { kv = "shared" }, ffn = { top_k = 1 } }
---   local model = mixture:build()
---@param options bam.MixOptions
---@return bam.Description
function bam.mix(options) end

--- Describe the sparse upcycling of one dense model (Komatsuzaki 2022): its attention, and FFN experts that start
--- as copies of its FFN.
---@param options bam.UpcycleOptions
---@return bam.Description
function bam.upcycle(options) end

--- Describe a trained mixture with additional experts. Its weights are kept, including those of its experts and
--- routers. Each dense model adds one expert: its FFN, and its attention if the mixture has attention experts. The
--- rows of the new experts in the routers are random. A dense model's other parameters are not used, and a router of
--- your own starts with fresh state apart from its `weight`.
---
---   local wider = bam.extend { model = mixed, experts = { chemistry } }
---   bam.train { name = "wider", model = wider, data = text:sample { law = 1, chemistry = 1 }, tokens = 1e6,
---                lr = 1e-4 }
---@param options bam.ExtendOptions
---@return bam.Description
function bam.extend(options) end

bam.models.Model = bam_models_Model

bam.ensemble = bam_ensemble

--- The average of all models, weighted by `weights`, which need not add up to 1.
---@param tensors tensor[] one per model, the seed's first
---@param options? merge.averageOptions
---@return tensor
function bam.merge.average(tensors, options) end

--- Task arithmetic after a random share of each task vector's elements is dropped, and the others are divided
--- by 1 - drop. The first model is the seed.
---@param tensors tensor[] one per model, the seed's first
---@param options? merge.dareOptions
---@return tensor
function bam.merge.dare(tensors, options) end

--- Define a merge method. Its options and its code are part of the fingerprint of phases that use it.
---
---   local median = bam.merge.define {
---     name = "median",
---     merge = function(tensors) return bam.sort(bam.stack(tensors, 1), 1):select(1, (#tensors + 1) // 2) end,
---   }
---   local mixture = bam.mix { experts = models, merge = median }
---@param what merge.Definition
---@return table method
function bam.merge.define(what) end

--- Two models, merged along the arc between them, for each parameter as one vector. `weights` of { 0.75, 0.25 }
--- are a quarter of the way from the first to the second.
---@param tensors tensor[] one per model, the seed's first
---@param options? merge.slerpOptions
---@return tensor
function bam.merge.slerp(tensors, options) end

--- The seed plus `scale` times the weighted sum of the task vectors: each model's difference from the seed,
--- which is the first model. A negative weight forgets a task.
---@param tensors tensor[] one per model, the seed's first
---@param options? merge.task_arithmeticOptions
---@return tensor
function bam.merge.task_arithmetic(tensors, options) end

--- Of each task vector (a model's difference from the seed, which is the first model) the largest elements are
--- kept. Each element's sign is that of their weighted sum; the mean of those with this sign, times `scale`, is
--- added to the seed.
---@param tensors tensor[] one per model, the seed's first
---@param options? merge.tiesOptions
---@return tensor
function bam.merge.ties(tensors, options) end

--- Text from Debian packages in four domains, general, law, math and code, the same on every machine. Nothing is
--- read before it is needed.
---@param options? bam.DebianOptions
---@return bam.Text
function bam.corpus.debian(options) end

--- Is `x` a tokenizer?
---@param x any
---@return boolean
function bam.tokenizer.is(x) end

--- Load a tokenizer.json.
---@param path string
---@return tokenizer
function bam.tokenizer.load(path) end

--- Parse a tokenizer.json. What is not supported, such as normalizers, is an error that names it.
---@param text string
---@param label? string name for error messages
---@return tokenizer
function bam.tokenizer.parse(text, label) end

--- Train a tokenizer. The vocabulary starts with the special tokens and all bytes; the most frequent pairs within
--- pieces of text are added. The result depends on the texts, not on their order or the number of threads. A text
--- with too few pairs is an error.
---@param options bam.tokenizer.TrainOptions
---@return tokenizer
function bam.tokenizer.train(options) end

--- The options of this recipe, from lowest to highest precedence: the sizes of a scale, the fields given here, --set.
--- `seed` is always set, and --dtype sets `dtype`. Answers --help. The result is read-only, and reading an unknown name
--- is an error.
---@param fields? table plain data; scale = "demo", "590m" or "2b" sets vocab, context, batch, rows, model, tokens, lr and mixture_lr
---@return table options
function bam.options(fields) end

--- Train a phase, or resume it; a finished phase is only looked up. It is kept in runs/NAME-XXXXXXXX, where the
--- digits are a fingerprint of everything that defines it: metrics.jsonl, phase.json (the settings), checkpoints
--- step-N and best.
---
--- A line of metrics.jsonl, and the record of on_step, has step, loss (nats per token, without auxiliary losses), lr,
--- norm (of the gradient, before clipping), tokens_per_second; for mixtures load_balance and z_loss (the auxiliary
--- losses before their coefficients, summed over layers) and routing: per
--- router layer, module, and per expert load (share of assignments), gate (mean) and entropy (mean of -p ln p).
--- `skipped` says why a step was skipped. Evaluations have `eval`: perplexity and bits_per_byte by domain.
---
--- Only the settings determine the weights: a callback that changes the model, a schedule that depends on more than
--- the progress, and a router whose code or state changes during the phase are errors. Callbacks have random
--- numbers of their own.
---
--- Evaluations use held-out text of the domains that are trained on. With --plan a phase is only described; with
--- --only NAME all others are skipped; with --audit nothing new is trained, but what exists is checked and the last
--- steps are trained again, which must give the same bits.
---@param given bam.TrainOptions
---@return bam.Phase
function bam.train(given) end

--- Read the log of a phase, runs/NAME-XXXXXXXX/metrics.jsonl, also while it trains and from older versions. The record
--- of a step has step, loss, lr, norm and what help(bam.train) lists; that of an evaluation has step and `eval`, with
--- perplexity and bits_per_byte by domain and the average perplexity.
---
---   for _, record in ipairs(bam.metrics(phase)) do
---     if record.loss then print(record.step, record.loss) end
---   end
---@param value bam.Phase|string a phase, or its directory
---@return table[] records in order; none under --plan
function bam.metrics(value) end

--- Ask whether a training loop of your own is not to run now: with --plan its parameters, FLOPs, memory and time are
--- printed, with --only another is to run, and with --audit nothing new is trained. bam.train does this for phases.
---
---   local described = bam.models.parallel { layers = 2, width = 64, heads = 4, ffn = 128, vocab = 256 }
---   if bam.plan { name = "mine", model = described, batch = 8, context = 128, steps = 100 } then return end
---@param given bam.PlanOptions
---@return boolean skip
function bam.plan(given) end

--- Evaluate a model on held-out text: loss (nats per token), perplexity, its standard error (nil for a single window)
--- and bits per byte of each domain; `windows` has the nats and tokens of each window. The average is the mean of the
--- perplexities, as in Table 1 of the paper.
---@param model any a model, an ensemble, a phase (its final weights), or the directory of a model or a phase
---@param heldout any text.heldout; or files, which are read with the model's own tokenizer: a path or pattern, a list of these, or a table of these by domain: { law = "law-test/*.txt" }. Paths are relative to the script
---@param options? { context?: integer, tokens?: integer, domains?: string[], cache?: string } tokens per window, the model's context by default; limit of tokens per domain; all domains by default; where tokens of files are kept
---@return { domains: table<string, table>, average: table }
function bam.evaluate(model, heldout, options) end

--- Evaluate models on held-out text, print a table like the paper's Table 1, and write runs/RECIPE/results.json
--- (results@2.json for --seed 2): parameters, tokens, FLOPs and seconds of each model, and perplexity, its standard
--- error and bits per byte by domain. The models are a list (which may contain lists) of phases, models, ensembles,
--- and directories of phases or models. If phases have the same name, the differences of their settings are shown
--- below the table. Phases of one name and different seeds get a row with their mean, whose standard error is that over
--- seeds. With --plan, --only and --audit it does nothing.
---
---   bam.compare { seed, experts, mixture, on = text.heldout, base = seed }
---@param given bam.CompareOptions
---@return table? comparison prints as the table; `models` has the figures, `base` is one of them, `means` has the means over seeds
function bam.compare(given) end

--- Print the mean and standard deviation of several comparisons of the same models, such as one per seed. If they have
--- a base, also print the ratio to it in each comparison, and FLOPs per token relative to the base. With --plan and
--- --only it does nothing.
---@param comparisons table[] results of bam.compare
---@param options? { reference?: table<string, number> } ratios to show beside them, by model
---@return string[]? lines
function bam.spread(comparisons, options) end

--- Verify a run: the digest of every file of every checkpoint and the phase it belongs to, the settings of phases,
--- evaluations and the weights they belong to, results, the log, and that each phase started from the final weights of
--- its parents. Changes nothing. Prints a line per phase, and each problem.
---@param directory string all runs, a recipe's directory, or one phase
---@param options? { cache?: string|true, quiet?: boolean } cache: also check the prepared text in this directory, or in the usual one
---@return boolean sound
---@return table report lists `problems` and `notes`, and numbers of checkpoints, evaluations and texts
function bam.audit(directory, options) end

--- Add the gradients of a batch's loss to the gradients of the parameters, computing `rows` rows at a time.
---@param model table
---@param batch table as stream:batch returns: ids, targets, documents?, positions? [B, T], and tokens, the number of targets
---@param rows? integer all by default
---@return { loss: number, load_balance?: number, z_loss?: number, routing: table[] } loss per token, auxiliary losses summed over layers, statistics of the routers
function bam.loop.gradients(model, batch, rows) end

--- The loss per token of a batch, in evaluation mode and without gradients.
---@param model table
---@param batch table as for gradients
---@param rows? integer rows at a time; all by default
---@return number
function bam.loop.loss(model, batch, rows) end

--- Run steps `first` to `steps` (or to `last`) in training mode. Every step depends only on its number: the batch,
--- the learning rate, and what set_step changes in the model.
---@param run { model: table, optimizer: table, stream: table, lr: schedule, first: integer, steps: integer, last?: integer, batch: integer, rows?: integer, clip?: number, judge?: function, graphs?: boolean, around?: fun(step: integer, compute: function): table, after: fun(step: integer, record: table) } around calls compute() and returns the record of a step; after is called with the record of each step; graphs as in bam.train
function bam.loop.run(run) end

--- One step: gradients, clipping and the optimizer's update, unless `judge` rejects it.
---@param model table
---@param optimizer table
---@param batch table as for gradients
---@param settings { lr: number, clip?: number, rows?: integer, judge?: fun(loss: number, norm: number): string?, boolean? } judge returns why the step must be skipped, and whether to stop
---@return table record result of gradients, with lr, norm, skipped (the reason) and stop
function bam.loop.step(model, optimizer, batch, settings) end

--- Mark a list as an array, so that it is encoded as one even if it is empty.
---@param list table
---@return table list
function bam.json.array(list) end

--- Parse UTF-8 JSON: an object, an array or a single value. Integers beyond 64 bits become floats, as in Lua.
--- Errors name the byte: malformed text, a duplicate key, half a surrogate pair, a number beyond the range of a
--- float, more than 64 levels, more than 10 million values.
---@param text string
---@return any
function bam.json.decode(text) end

--- Write JSON on one line without spaces, or indented. A table with keys 1 to n is an array, one with string keys
--- an object, {} an empty object, json.array {} an empty array. Keys are sorted, so equal values give equal texts;
--- floats round-trip exactly. A value that JSON cannot represent is an error that says where it is.
---@param value any
---@param options? { indent?: integer } spaces per level, 0 to 16; 0 by default
---@return string
function bam.json.encode(value, options) end

--- Copy a value without its numbers that JSON cannot represent: a field that is NaN or infinite is left out.
---@param value any
---@return any
function bam.json.finite(value) end

--- Read the object or array in a JSON file that may be missing or damaged. A file that cannot be read at the moment
--- (too many open files, no permission, a disk error) is an error, as it may be intact.
---@param path string
---@return table? value nil if the file is missing, malformed or something else
---@return string? message what is wrong in that case
function bam.json.read(path) end

--- Load a file or directory: tensors from .safetensors files, or from several with an index
--- (.safetensors.index.json); one tensor from .npy; the model of a checkpoint directory, in evaluation mode. The ending
--- of the path tells the format, or the file's first bytes. bam.formats.define adds formats.
---@param path string
---@param options? bam.LoadOptions|string[] options of the format: of a directory; for safetensors the names of the tensors to read, all by default
---@return any tensors by name, a tensor, or the model
---@return table<string, string>? metadata of a safetensors file
function bam.load(path, options) end

--- Save tensors or a model. The file or directory appears atomically. The ending of the path tells the format:
--- .safetensors (also without an ending) and .safetensors.index.json take tensors by name, .npy one tensor; a model is
--- saved as a directory, as model:save does. bam.formats.define adds formats.
---@param path string
---@param value any
---@param options? table options of the format: for safetensors the metadata, a table of strings; for an index { shard_bytes = integer }; for a model those of model:save
function bam.save(path, value, options) end

--- Read a tensor from a NumPy file.
---@param path string
---@return tensor
function bam.load_npy(path) end

--- Write a tensor to a NumPy file.
---@param path string
---@param x tensor
function bam.save_npy(path, x) end

--- Define a file format. bam.load and bam.save then take paths with its endings.
---
---   bam.formats.define {
---     name = "bytes", endings = { "raw" },
---     decode = function(text) return bam.bytes(text) end,
---   }
---   local x = bam.load "image.raw"
---@param what formats.Definition
---@return table format
function bam.formats.define(what) end

--- Select the device on which new tensors are allocated. Without an argument, only return it.
---@param name? device
---@return device
function bam.device(name) end

--- List the devices of this machine. The second result says why a backend has none: `cuda = "..."`.
---@return bam.DeviceInfo[]
---@return table<string, string> reasons by backend
function bam.devices() end

--- Wait until all work on a device is done. Errors of that work are raised here.
---@param device? device bam.device() by default
function bam.synchronize(device) end

--- Allow or forbid tf32 for f32 matrix products on devices: 10 bits of mantissa, several times as fast.
--- Forbidden by default. Without an argument, only return the setting.
---@param allow? boolean
---@return boolean
function bam.tf32(allow) end

--- Choose the algorithms of matrix products on the current device by measurement: when a product of new types or sizes
--- comes, up to 8 that the device's library proposes are timed, and the fastest whose result is the same each time is
--- used from then on. The file keeps what was measured, by kind of device and version of the library; what it has is
--- used and not measured again. So the same script, seed, device and file give the same bits, and without the file a
--- run may get others. A phase of bam.train records its algorithms in its checkpoints, and takes them from there when
--- it is resumed. The same as --tune FILE. Measurements are written during bam.train, and by bam.tune().
---
--- Raises an error on a device whose products have one implementation, such as the CPU.
---@param path? string|boolean the file, which is created; false: stop, and take the library's first proposals again
---@return string? path of the file in use
function bam.tune(path) end

--- Make f a CUDA graph: its second call records what a GPU does for it, and later calls run that with one call to the
--- device, without the host's time for each op. Results have the bits of f(...). There is a recording for each
--- combination of shapes; other arguments count by value. On the CPU f is simply called.
---
--- What f does on the host (printing, counting, choosing a branch) happens only when f itself runs. f must not need
--- a value from the device (x:item()), a copy from the CPU, or random numbers, as dropout does; then, and wherever
--- else a recording is impossible, f itself is called each time. f may call backward, whose gradients are added as
--- always, but not step an optimizer, whose steps differ in a number. Results are tensors that require no gradient;
--- the next call overwrites them: clone what you keep. A recording keeps its memory until graph:close(), or until
--- memory is short.
---
---   local gradients = bam.graph(function(x, y)
---     local loss = bam.cross_entropy(model(x), y)
---     loss:backward()
---     return loss:detach()
---   end)
---@param f function of tensors on one device, numbers, strings and booleans; gives tensors
---@param options? { strict?: boolean } strict: an error where f cannot be recorded
---@return bam.Graph graph to be called like f
function bam.graph(f, options) end

--- Set the number of threads of the CPU kernels. Without an argument, only return it.
---@param count? integer 1 to 1024
---@return integer
function bam.threads(count) end

--- Memory counters of the engine, in bytes: `live`, `peak` and `reserved`; also `objects` (live objects),
--- `requests` (allocations) and `system_requests` (allocations that the system had to serve). One device
--- has `live` (in use), `peak` (its maximum so far) and `reserved` (held from the device).
---@param device? device all devices together by default
---@return table<string, integer>
function bam.memory(device) end

--- The instruction set of the CPU kernels: "baseline", "avx2" or "avx512".
---@return string
function bam.isa() end

--- Measure the peak of the CPU: f32 multiply-adds of all threads without memory traffic. Takes a few
--- milliseconds.
---@return number FLOP/s
function bam.peak() end

--- Seconds of a monotonic clock, for timing.
---@return number
function bam.clock() end

return bam
