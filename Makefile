# bamlua: `make help` lists the commands. A fresh clone needs only make: every command first installs the Debian
# packages it needs, or, without the rights to do so, prints the apt-get line.

# ---- settings, which can be set on the command line ----
B       ?= build
CFLAGS  ?= -O3 -g
# WERROR=-Werror turns warnings into errors, as in .ci/run.
WERROR  ?=
PREFIX  ?= /usr/local
DESTDIR ?=
SECONDS ?= 600
# make faults tries every EVERY-th fault, starting at number FIRST (0 to EVERY - 1, so that several processes can
# share the work). STATE is a file that records progress, so that a stopped process can resume.
EVERY   ?= 1
FIRST   ?= 0
STATE   ?=
# make bits compares with the program BASE, on a small recipe or on RECIPE
BASE    ?=
RECIPE  ?=
# Run only the tests whose names match: make test FILTER='matmul/*'
FILTER  ?=
# The CUDA backend: built if nvcc is found; make CUDA=0 omits it.
CUDA    ?= $(if $(shell command -v nvcc 2>/dev/null),1,0)
# The GPU architectures to compile for. The first is also included as PTX, which newer GPUs compile themselves.
CUDA_ARCH ?= 80 90a

# Debian 12 packages for building, and packages with the text that the demo trains on.
BUILD_PACKAGES := gcc libc6-dev make pkg-config liblua5.4-dev libedit-dev libpcre2-dev zlib1g-dev \
                  libzstd-dev libxxhash-dev $(if $(filter 1,$(CUDA)),g++)
TEXT_PACKAGES  := bible-kjv bible-kjv-text jargon-text debian-policy doc-debian miscfiles libsoftware-license-perl \
                  base-files metamath-databases libpython3-stdlib
# The packages installed by the targets `deps` and `deps-NAME`. Tests need those of running, and more.
deps_packages          := $(BUILD_PACKAGES) $(TEXT_PACKAGES)
deps-test_packages     := $(deps_packages) libcriterion-dev lua5.4 tmux
deps-simt_packages     := $(deps_packages) g++
deps-valgrind_packages := $(deps-test_packages) valgrind
deps-analyze_packages  := $(BUILD_PACKAGES) cppcheck
deps-lint_packages     := lua-check
deps-format_packages   := clang-format

WARNINGS := -Wall -Wextra -Wshadow -Wconversion
# All libraries but glibc are linked statically: the program starts faster and is portable. Lua's is linked whole, since
# modules in C that scripts load may call any of its functions.
archives    = $(foreach l,$(1),$(shell $(CC) -print-file-name=lib$(l).a))
PKG_CFLAGS := $(shell pkg-config --cflags lua5.4 libedit 2>/dev/null)
PKG_LIBS   := -Wl,--whole-archive $(call archives,lua5.4) -Wl,--no-whole-archive \
              $(call archives,edit tinfo bsd md pcre2-8 zstd z)
ALL_CFLAGS := -std=c11 -D_GNU_SOURCE $(WARNINGS) $(WERROR) -fopenmp -fno-math-errno -fno-trapping-math -MMD -MP \
              $(PKG_CFLAGS) $(CFLAGS) $(SANITIZE)
# libgomp is static too: only then can the program choose how its threads wait (kernels/cpu/device.c).
# CUDA's runtime is static; cuBLASLt and the driver are loaded on first use.
CUDA_HOME  ?= $(patsubst %/bin/nvcc,%,$(realpath $(shell command -v nvcc 2>/dev/null)))
CUDART     := $(firstword $(wildcard $(CUDA_HOME)/lib64/libcudart_static.a $(CUDA_HOME)/targets/*/lib/libcudart_static.a \
                                     $(CUDA_HOME)/lib/libcudart_static.a))
CUDA_LIBS  := $(if $(filter 1,$(CUDA)),$(CUDART) -lrt)
ALL_LIBS   := $(PKG_LIBS) $(CUDA_LIBS) $(call archives,gomp) -lpthread -lm -ldl $(SANITIZE)

# ---- sources ----
ENGINE_C := $(wildcard engine/*/*.c engine/ops/support/*.c kernels/*.c)
BIND_C   := $(filter-out lua/host/precompile.c,$(wildcard lua/host/*.c lua/bind/*.c))
LUA_SRC  := $(sort $(wildcard lua/bam/*.lua lua/bam/*/*.lua lua/bam/*/*/*.lua))
CPU_C    := $(wildcard kernels/cpu/*.c)
# Kernel files for floating point only; the others are compiled for every computing dtype.
CPU_ANY  := $(filter $(addprefix kernels/cpu/,copy.c arithmetic.c compare.c reduce.c index.c sort.c table.c),$(CPU_C))
CPU_ONCE := $(filter $(addprefix kernels/cpu/,device.c features.c convert.c workspace.c),$(CPU_C))
CPU_REAL := $(filter-out $(CPU_ANY) $(CPU_ONCE),$(CPU_C))

ISAS          ?= baseline avx2 avx512
FLAGS_avx2    := -march=haswell
FLAGS_avx512  := -march=skylake-avx512 -mprefer-vector-width=512
ISA_FLAGS     := $(FLAGS_avx2) $(FLAGS_avx512) $(ISAS)
# Products and layers made of them fuse multiply and add. Elsewhere every instruction set rounds alike.
FLAGS_gemm      := -ffp-contract=fast
FLAGS_attention := -ffp-contract=fast
FLAGS_loss      := -ffp-contract=fast
FLAGS_swiglu    := -ffp-contract=fast
FLAGS_routed_ffn := -ffp-contract=fast
FLAGS_peak      := -ffp-contract=fast
TYPES_REAL    := f32 f64
TYPES_INTEGER := i32 i64 u8 b8
TYPES_CUDA    := $(TYPES_REAL) bf16

# One object per kernel file, instruction set and dtype. Integer kernels are compiled for the baseline only.
kernel_objects = $(foreach s,$(3),$(patsubst kernels/cpu/%.c,$(B)/kernels/cpu/%.$(1).$(2).o,$(s)))
KERNEL_OBJ := $(foreach i,$(ISAS),$(foreach t,$(TYPES_REAL),$(call kernel_objects,$(i),$(t),$(CPU_ANY) $(CPU_REAL)))) \
              $(foreach t,$(TYPES_INTEGER),$(call kernel_objects,baseline,$(t),$(CPU_ANY)))
# The same for CUDA files. $(1) is the directory of the objects.
CUDA_C       := $(wildcard kernels/cuda/*.cu) kernels/cuda/table.c
CUDA_ONCE    := $(filter $(addprefix kernels/cuda/,device.cu pages.cu graph.cu stream.cu lanes.cu convert.cu scatter.cu library.cu \
                  blas.cu blas_library.cu blas_plan.cu blas_algorithm.cu blas_operands.cu blas_measure.cu blas_plain.cu \
                  attention_mma.cu attention_mma_backward.cu fp8.cu fp8_quantize.cu attention_hopper.cu \
                  attention_hopper_backward.cu),$(CUDA_C))
CUDA_ANY     := $(filter $(patsubst kernels/cpu/%.c,kernels/cuda/%.cu,$(CPU_ANY)) kernels/cuda/table.c,$(CUDA_C))
CUDA_REAL    := $(filter-out $(CUDA_ANY) $(CUDA_ONCE),$(CUDA_C))
cuda_typed    = $(foreach s,$(3),$(1)/$(basename $(s)).$(2).o)
cuda_objects  = $(patsubst %.cu,$(1)/%.o,$(CUDA_ONCE)) \
                $(foreach t,$(TYPES_CUDA),$(call cuda_typed,$(1),$(t),$(CUDA_ANY) $(CUDA_REAL))) \
                $(foreach t,$(TYPES_INTEGER),$(call cuda_typed,$(1),$(t),$(CUDA_ANY)))
CUDA_OBJ     := $(if $(filter 1,$(CUDA)),$(call cuda_objects,$(B)))
ENGINE_OBJ := $(patsubst %.c,$(B)/%.o,$(ENGINE_C) $(CPU_ONCE)) $(KERNEL_OBJ) $(CUDA_OBJ)
BIND_OBJ   := $(patsubst %.c,$(B)/%.o,$(BIND_C)) $(B)/embedded.o
TEST_OBJ   := $(patsubst %.c,$(B)/%.o,$(wildcard tests/engine/*.c))
# The op tests with their own driver instead of Criterion, for running on other devices (tests/cases).
CASES_NOT  := scratch $(addprefix test_,files gemm lua_memory npy safetensors scripts signals vmath)
CASES_C    := $(wildcard tests/cases/*.c) $(filter-out $(CASES_NOT:%=tests/engine/%.c),$(wildcard tests/engine/*.c))
CASES_WRONG := $(patsubst %,$(B)/cases/tests/%.o,cases/selftest/wrong cases/driver engine/fixture engine/value_tests)
CASES_OBJ  := $(patsubst %.c,$(B)/cases/%.o,$(CASES_C)) $(filter-out %/main.o,$(BIND_OBJ))
# Tests that launch kernels without the engine, for a device and for the shim: tests/gpu/NAME.cu.
GPU_TESTS  := tensor_cores attention_mma hopper fp8
GPU_TEST_OBJ := $(addprefix kernels/cuda/,stream.o attention_mma.o attention_mma_backward.o attention_hopper.o \
                  attention_hopper_backward.o fp8_quantize.o)
GPU_PROGRAMS := $(if $(filter 1,$(CUDA)),$(GPU_TESTS:%=$(B)/cases/%))
FUZZ_OBJ   := $(patsubst %.c,$(B)/%.o,$(wildcard tests/fuzz/fuzz_*.c))
BORDER_OBJ := $(patsubst %,$(B)/tests/fuzz/%.o,border border_lua border_plants) $(filter-out %/main.o,$(BIND_OBJ))
PARSER_OBJ := $(patsubst %,$(B)/tests/fuzz/%.o,mutate parsers) $(filter-out %/main.o,$(BIND_OBJ))
FAULTS_OBJ := $(patsubst %.c,$(B)/%.o,$(wildcard tests/selftest/*.c))

# ---- the program ----
.DEFAULT_GOAL := all
.PHONY: all
all: $(B)/bamlua ## build the program, build/bamlua

$(B)/bamlua: $(BIND_OBJ) $(B)/libbam.a
	@echo link $@
	@$(CC) -Wl,-E -o $@ $(BIND_OBJ) $(B)/libbam.a $(ALL_LIBS)

$(B)/libbam.a: $(ENGINE_OBJ)
	@rm -f $@
	@$(AR) rcs $@ $^

# Rewritten when the compiler or its flags change, so that everything is recompiled.
$(B)/flags: always
	@mkdir -p $(@D)
	@echo '$(CC) $(ALL_CFLAGS) $(ISA_FLAGS)' | cmp -s - $@ || echo '$(CC) $(ALL_CFLAGS) $(ISA_FLAGS)' > $@
.PHONY: always

$(B)/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	@echo $(CC) $<
	@$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(B)/kernels/cpu/device.o: ALL_CFLAGS += $(addprefix -DBAM_HAS_,$(ISAS))
$(B)/kernels/backends.o: ALL_CFLAGS += $(if $(filter 1,$(CUDA)),-DBAM_HAS_CUDA)

define kernel_rule
$(B)/kernels/cpu/%.$(1).$(2).o: kernels/cpu/%.c $(B)/flags
	@mkdir -p $$(@D)
	@echo $(CC) kernels/cpu/$$*.c for $(1) $(2)
	@$(CC) $(ALL_CFLAGS) $(FLAGS_$(1)) $$(FLAGS_$$*) -DBAM_ISA=$(1) -DBAM_TYPE=$(2) -DBAM_TYPE_$(2) -c -o $$@ $$<
endef
$(foreach i,$(ISAS),$(foreach t,$(TYPES_REAL) $(TYPES_INTEGER),$(eval $(call kernel_rule,$(i),$(t)))))

# Does not depend on the C++ runtime library.
NVCC_FLAGS := -std=c++17 -O3 -compress-mode=size -MMD -MP $(if $(WERROR),-Werror all-warnings) \
              -Xcompiler -Wall,-Wextra,-fno-exceptions,-fno-threadsafe-statics \
              $(foreach a,$(CUDA_ARCH),-gencode arch=compute_$(a),code=sm_$(a)) \
              -gencode arch=compute_$(firstword $(CUDA_ARCH)),code=compute_$(firstword $(CUDA_ARCH))

# The initializers that register kernels with CUDA would slow down every start. Moved to a section of their own, they
# are run by kernels/cuda/device.cu when a device is first opened.
LATE := objcopy --rename-section .init_array=bam_cuda_modules
# Like $(B)/flags, for files that depend on CUDA.
CUDA_LINE := $(CUDA) $(if $(filter 1,$(CUDA)),nvcc $(NVCC_FLAGS) $(LATE))
$(B)/cuda_flags: always
	@mkdir -p $(@D)
	@echo '$(CUDA_LINE)' | cmp -s - $@ || echo '$(CUDA_LINE)' > $@
$(B)/kernels/backends.o: $(B)/cuda_flags

$(B)/kernels/cuda/%.o: kernels/cuda/%.cu $(B)/cuda_flags
	@mkdir -p $(@D)
	@echo nvcc $<
	@nvcc $(NVCC_FLAGS) -c -o $@ $< && $(LATE) $@

# Of these, ptxas reports registers and spills into a file beside the object, which tests/lua/registers.lua reads.
REPORTED := $(patsubst %,$(B)/kernels/cuda/%.o,attention_mma attention_mma_backward attention_hopper \
              attention_hopper_backward)
$(REPORTED): $(B)/kernels/cuda/%.o: kernels/cuda/%.cu $(B)/cuda_flags
	@mkdir -p $(@D)
	@echo nvcc $<
	@nvcc $(NVCC_FLAGS) -Xptxas -v -c -o $@ $< >$(@:.o=.ptxas) 2>&1 || { cat $(@:.o=.ptxas) >&2; exit 1; }
	@$(LATE) $@

define cuda_rule
$(B)/kernels/cuda/%.$(1).o: kernels/cuda/%.cu $(B)/cuda_flags
	@mkdir -p $$(@D)
	@echo nvcc $$< for $(1)
	@nvcc $$(NVCC_FLAGS) -DBAM_TYPE=$(1) -DBAM_TYPE_$(1) -c -o $$@ $$< && $(LATE) $$@
$(B)/kernels/cuda/%.$(1).o $(B)/simt/kernels/cuda/%.$(1).o: kernels/cuda/%.c $(B)/flags
	@mkdir -p $$(@D)
	@$(CC) $(ALL_CFLAGS) -DBAM_TYPE=$(1) -DBAM_TYPE_$(1) -c -o $$@ $$<
endef
$(foreach t,$(TYPES_CUDA) $(TYPES_INTEGER),$(eval $(call cuda_rule,$(t))))

# Changes when a module is added or removed, whatever the time of its file.
$(B)/modules: always
	@mkdir -p $(@D)
	@echo '$(LUA_SRC)' | cmp -s - $@ || echo '$(LUA_SRC)' > $@

$(B)/precompile: $(B)/lua/host/precompile.o $(call archives,lua5.4)
	@$(CC) -o $@ $< $(PKG_LIBS) -lm -ldl $(SANITIZE)

$(B)/embedded.S: lua/host/embed.sh $(B)/precompile $(B)/modules $(LUA_SRC)
	@mkdir -p $(B)/bytecode
	@$(B)/precompile $(B)/bytecode $(LUA_SRC)
	@sh lua/host/embed.sh $@ $(B)/bytecode $(LUA_SRC)

$(B)/embedded.o: $(B)/embedded.S
	@$(CC) -c -o $@ $<

-include $(shell find $(B) -name '*.d' 2>/dev/null)

# ---- commands ----
# They first install missing packages. pkg-config runs when make starts, so the work itself is done by a second make,
# on all cores unless -j is given.
REMAKE = $(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))
DEPS   := deps $(addprefix deps-,test simt valgrind analyze lint format)

.PHONY: run test bits check-masters docs cases window sass simt bench bench-products scaling accuracy asan analyze lint lint-format format compdb \
        debug valgrind fuzz fuzzcheck faults $(DEPS) install clean help
run: deps ## branch, train, mix and compare small models on text of this machine
	@$(REMAKE) all
	$(B)/bamlua recipes/bam_kv_shared.lua

test: deps-test ## build and run all tests; FILTER='matmul/*' picks some
	@$(REMAKE) $(B)/bamlua $(B)/test_engine
	@sh tests/run.sh plain $(B) '$(FILTER)'

cases: deps ## run only the op tests, in the portable program that tests/gpu uses
	@$(REMAKE) $(B)/cases/bamlua $(B)/cases/selftest $(GPU_PROGRAMS)
	@sh tests/cases/selftest/check.sh $(B)/cases/selftest
	@sh tests/cases/run.sh $(B)/cases/bamlua $(if $(FILTER),--filter '$(FILTER)')

# What travels to a machine with a GPU, for sh tests/gpu/window.sh; a lent one takes 64 MiB with the working tree.
WINDOW := B=build-window CUDA=1 CUDA_ARCH=90a
window: deps ## build what a window on a GPU needs into build-window/carry (docs/cuda.md)
	@$(REMAKE) $(WINDOW) build-window/cases/bamlua $(GPU_TESTS:%=build-window/cases/%)
	@mkdir -p build-window/carry
	@cp build-window/cases/bamlua $(GPU_TESTS:%=build-window/cases/%) build-window/carry
	@git rev-parse HEAD > build-window/carry/commit 2>/dev/null || echo unknown > build-window/carry/commit
	@du -sm build-window/carry | { read -r size name; echo "$$name: $$size MB"; test "$$size" -le 48; }

simt: deps-simt ## run the op tests and a recipe on the CUDA backend, simulated on the CPU (tests/simt)
	@$(REMAKE) $(B)/simt/selftest $(B)/simt/bamlua $(B)/dry/bamlua $(GPU_TESTS:%=$(B)/simt/%)
	@sh tests/simt/run.sh $(B) '$(FILTER)'

bench: deps ## measure speed, into build/bench.json too, and compare with PyTorch and gigatoken if they are installed
	@$(REMAKE) all
	$(B)/bamlua tests/bench/bench.lua --json $(B)/bench.json
	$(B)/bamlua tests/bench/text.lua --json $(B)/bench-text.json

bench-products: deps ## compare matrix products with OpenBLAS and oneDNN where Debian's libopenblas0 and libdnnl2 are
	@$(REMAKE) $(B)/bench_products
	$(B)/bench_products

scaling: deps ## measure speed and memory against size, experts and threads; draw docs/scaling-*.svg; takes SECONDS
	@$(REMAKE) all
	$(B)/bamlua tests/bench/scaling.lua --seconds $(SECONDS) --json $(B)/scaling.json
	$(B)/bamlua tests/bench/charts.lua $(B)/scaling.json docs

check-masters: deps ## divide and join every f32 as the master of a bf16 parameter; a minute
	@$(REMAKE) $(B)/check_masters
	@$(B)/check_masters

bits: deps ## compare weights with an older program, bit by bit: BASE=build/bamlua of then; RECIPE=tests/bits/demo.lua
	@$(REMAKE) $(B)/bamlua
	@$(B)/bamlua tests/bits/compare.lua $(B)/bamlua '$(BASE)' $(RECIPE)

docs: deps ## write docs/api, the reference of functions and classes, from the sources
	@$(REMAKE) all
	$(B)/bamlua docs docs/api

accuracy: deps ## compare the f32 rounding errors of every op with PyTorch's (BAMLUA_PEER_PYTHON: a Python with PyTorch)
	@$(REMAKE) all
	$(B)/bamlua tests/accuracy/accuracy.lua

ASAN := B=build-asan CUDA=0 ISAS=baseline CFLAGS='-O1 -g -fno-omit-frame-pointer' \
        SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=all'
asan: deps-test ## run all tests under AddressSanitizer and UBSan, and prove that they detect faults
	@$(REMAKE) $(ASAN) build-asan/bamlua build-asan/test_engine build-asan/test_faults
	@sh tests/run.sh asan build-asan '$(FILTER)'

debug: deps ## build build-debug/bamlua, which checks invariants (engine/core/assert.h)
	@$(REMAKE) B=build-debug CUDA=0 CFLAGS='-O1 -g -DBAM_DEBUG' build-debug/bamlua

analyze: deps-analyze ## run gcc -fanalyzer and cppcheck on the engine and the bindings
	@sh tests/analyze/run.sh '-std=c11 -D_GNU_SOURCE -fopenmp $(PKG_CFLAGS)'

valgrind: deps-valgrind ## run every op and the Lua state under valgrind, and prove that it detects faults
	@$(REMAKE) $(B)/bamlua $(B)/test_engine $(B)/test_faults
	@sh tests/run.sh valgrind $(B) '$(FILTER)'

# Kernels that are written for certain instructions: those of tensor cores, and accesses of 16 bytes.
SASS := attention_mma attention_mma_backward attention_hopper attention_hopper_backward fp8_quantize \
        $(addsuffix .bf16,swiglu geglu norm loss mixture_of_attention routed_ffn optim arithmetic unary \
          rope softmax embedding)
sass: $(B)/bamlua ## check the machine code of kernels; needs nvcc, cuobjdump and nvdisasm (tests/gpu/sass.lua)
	@$(REMAKE) $(WINDOW) $(SASS:%=build-window/kernels/cuda/%.o)
	@$(B)/bamlua tests/gpu/sass.lua $(SASS:%=build-window/kernels/cuda/%.o)

# Uses Clang's libFuzzer, which is guided by coverage, if it is installed.
LIBFUZZER = $(firstword $(wildcard $(shell clang -print-resource-dir 2>/dev/null)/lib/linux/libclang_rt.fuzzer-x86_64.a))
FUZZERS = $(addprefix build-asan/,fuzz_files fuzz_border fuzz_parsers $(if $(LIBFUZZER),fuzz_parsers_clang))
fuzz: deps ## fuzz the public API with random calls and all parsers with damaged files, for SECONDS
	@$(REMAKE) $(ASAN) $(FUZZERS)
	@CLANG=$(if $(LIBFUZZER),1) sh tests/fuzz/run.sh build-asan $(SECONDS)

fuzzcheck: deps ## run a fixed, reproducible sample of make fuzz, and prove that it finds faults
	@$(REMAKE) $(ASAN) $(FUZZERS)
	@CLANG=$(if $(LIBFUZZER),1) sh tests/fuzz/run.sh build-asan sample

faults: deps ## test a small run under failing system calls, power cuts and damaged files; hours, or EVERY=300 for a sample
	@$(REMAKE) $(B)/bamlua $(addprefix $(B)/faults/,inject record)
	@sh tests/faults/run.sh $(B) --every $(EVERY) --first $(FIRST) $(if $(STATE),--state '$(STATE)')

lint: deps-lint ## run luacheck on all Lua code
	@sh tests/lint/run.sh lua

lint-format: deps-format ## check the format of C and CUDA code against .clang-format
	@sh tests/lint/run.sh format

format: deps-format ## format C and CUDA code with clang-format
	@find engine kernels lua tests -name '*.[ch]' -o -name '*.cu' -o -name '*.cpp' | xargs clang-format -i

# Takes the command lines from a dry run of make; nothing is built.
compdb: ## write compile_commands.json, for clangd and other tools
	@{ echo '['; $(MAKE) -nB --no-print-directory $(addprefix $(B)/,bamlua test_engine test_faults fuzz_files fuzz_border fuzz_parsers) | \
	  sed -n -e 's/ && .*//' -e '/^echo /d' -e 's/[\\"]/\\&/g' \
	    -e 's|^.* -c -o \([^ ]*\) \([^ ]*\)$$|  {"directory": "$(CURDIR)", "file": "\2", "output": "\1", "command": "&"},|p' | \
	  sed '$$s/,$$//'; echo ']'; } > compile_commands.json

# Install the missing packages of $(1). Without apt-get, try to build anyway: other systems have other package names.
define install_missing
	@wanted='$(strip $(1))'; command -v dpkg-query >/dev/null || { \
	  echo "This is not a Debian system: you need the equivalents of $$wanted" >&2; exit 0; }; \
	installed=$$(dpkg-query -W -f='$${db:Status-Status}=$${Package}\n' $$wanted 2>/dev/null | sed -n 's/^installed=//p'); \
	missing=$$(for package in $$wanted; do echo "$$installed" | grep -qxF $$package || echo $$package; done); \
	test -z "$$missing" && exit; set -- $$missing; \
	if [ "$$(id -u)" != 0 ]; then sudo -n true 2>/dev/null && sudo=sudo || { \
	  echo "Packages are missing. Please type, as root: apt-get install $$*" >&2; exit 1; }; fi; \
	$$sudo apt-get update -q && \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$$@"
endef
deps: ## install the Debian packages for building and running (deps-test, deps-simt, ...: for other commands)
$(DEPS):
	$(call install_missing,$($@_packages))

install: all ## install the program under PREFIX (and DESTDIR)
	install -D -m 755 $(B)/bamlua $(DESTDIR)$(PREFIX)/bin/bamlua
	install -D -m 644 docs/api/bam.d.lua $(DESTDIR)$(PREFIX)/share/bamlua/bam.d.lua

clean: ## delete all build directories
	rm -rf build build-*

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /\1 /p' Makefile | while read -r name text; do printf '  make %-14s %s\n' "$$name" "$$text"; done

# ---- test programs ----
$(B)/cases/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	@echo $(CC) $< for --op-cases
	@$(CC) -Itests/cases $(ALL_CFLAGS) -c -o $@ $<

$(B)/cases/bamlua: $(CASES_OBJ) $(B)/libbam.a
	@echo link $@
	@$(CC) -s -Wl,-E -o $@ $^ $(ALL_LIBS)

$(B)/test_engine: $(TEST_OBJ) $(filter-out %/main.o,$(BIND_OBJ)) $(B)/libbam.a
	@echo link $@
	@$(CC) -o $@ $^ -lcriterion $(ALL_LIBS)

$(B)/bench_products: $(B)/tests/bench/products.o $(B)/libbam.a
	@echo link $@
	@$(CC) -o $@ $^ $(ALL_LIBS)

$(B)/check_masters: $(B)/tests/exhaustive/masters.o
	@echo link $@
	@$(CC) -o $@ $^ $(ALL_LIBS)

$(B)/cases/selftest: $(CASES_WRONG) $(B)/libbam.a
	@echo link $@
	@$(CC) -o $@ $^ $(ALL_LIBS)

$(B)/faults/%: tests/faults/%.c tests/faults/trace.c tests/faults/trace.h $(B)/flags
	@mkdir -p $(@D)
	@echo $(CC) $<
	@$(CC) $(filter-out -Wconversion -MMD -MP,$(ALL_CFLAGS)) -o $@ $(filter %.c,$^)

# Planted faults, which the sanitizers must report.
$(B)/test_faults: $(FAULTS_OBJ) $(B)/libbam.a
	@echo link $@
	@$(CC) -o $@ $^ -lcriterion $(ALL_LIBS)

$(B)/fuzz_files: $(FUZZ_OBJ) $(B)/libbam.a
	@echo link $@
	@$(CC) -o $@ $^ $(ALL_LIBS)

$(B)/fuzz_parsers: $(PARSER_OBJ) $(B)/libbam.a
	@echo link $@
	@$(CC) -Wl,-E -o $@ $^ $(ALL_LIBS)

# libFuzzer measures coverage in code compiled by clang: the bindings, and the engine except the files that use OpenMP.
# These objects are linked before the archive, so they replace its objects.
COVERED_OBJ := $(patsubst %.c,$(B)/clang/%.o,tests/fuzz/libfuzzer.c tests/fuzz/parsers.c \
                 $(filter-out engine/core/context.c lua/host/main.c,$(wildcard engine/core/*.c engine/autograd/*.c engine/io/*.c engine/text/*.c) $(BIND_C)))
$(B)/clang/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	@echo clang $<
	@clang -w $(filter-out -fopenmp -W% -fsanitize%,$(ALL_CFLAGS)) -fsanitize=fuzzer-no-link,address,undefined \
	  -fno-sanitize-recover=all -c -o $@ $<

$(B)/fuzz_parsers_clang: $(COVERED_OBJ) $(B)/embedded.o $(B)/libbam.a
	@echo link $@
	@clang -fsanitize=fuzzer,address,undefined -Wl,-E -o $@ $^ $(filter-out $(SANITIZE),$(ALL_LIBS))

$(B)/fuzz_border: $(BORDER_OBJ) $(B)/libbam.a
	@echo link $@
	@$(CC) -Wl,-E -o $@ $^ $(ALL_LIBS)

$(GPU_TESTS:%=$(B)/cases/%.o): $(B)/cases/%.o: tests/gpu/%.cu $(B)/cuda_flags
	@mkdir -p $(@D)
	@echo nvcc $<
	@nvcc $(NVCC_FLAGS) -c -o $@ $<

$(GPU_TESTS:%=$(B)/cases/%): %: %.o $(GPU_TEST_OBJ:%=$(B)/%)
	@echo link $@
	@$(CC) -s -o $@ $^ $(CUDA_LIBS) -lpthread -lm -ldl

# ---- the SIMT shim ----
# CUDA's kernels as C++, run on the CPU (tests/simt): one object per kernel file and dtype. An element of bf16 would
# become an integer beside a 0: -Wfloat-conversion finds it.
SIMT_CFLAGS ?= -O2 -g
SIMT_FLAGS  := -std=c++17 -Wall -Wextra -Wshadow -Wfloat-conversion $(WERROR) -fno-math-errno -fno-trapping-math -MMD -MP \
               -Itests/simt $(SIMT_CFLAGS) $(SANITIZE)
SHIM_OBJ    := $(patsubst tests/simt/%.cpp,$(B)/simt/%.o,$(wildcard tests/simt/*.cpp))
SIMT_OBJ    := $(filter-out %/cuda/library.o,$(call cuda_objects,$(B)/simt)) $(SHIM_OBJ) $(B)/simt/kernels/backends.o

$(B)/simt/flags: always
	@mkdir -p $(@D)
	@echo '$(CXX) $(SIMT_FLAGS)' | cmp -s - $@ || echo '$(CXX) $(SIMT_FLAGS)' > $@

$(B)/simt/%.o: tests/simt/%.cpp $(B)/simt/flags
	@echo $(CXX) $<
	@$(CXX) $(SIMT_FLAGS) -c -o $@ $<

$(B)/simt/%.o: tests/simt/%.cu $(B)/simt/flags
	@echo $(CXX) $<
	@$(CXX) $(SIMT_FLAGS) -x c++ -c -o $@ $<

define simt_rule
$(B)/simt/kernels/cuda/%.$(1).o: kernels/cuda/%.cu $(B)/simt/flags
	@mkdir -p $$(@D)
	@echo $(CXX) kernels/cuda/$$*.cu for $(1)
	@$(CXX) $(SIMT_FLAGS) -DBAM_TYPE=$(1) -DBAM_TYPE_$(1) -x c++ -c -o $$@ $$<
endef
$(foreach t,$(TYPES_CUDA) $(TYPES_INTEGER),$(eval $(call simt_rule,$(t))))

$(filter $(B)/simt/kernels/cuda/blas%,$(SIMT_OBJ)): private SIMT_FLAGS += -DBAM_BLAS_WORKSPACE=4096
$(B)/simt/kernels/cuda/pages.o: private SIMT_FLAGS += -DPAGE_BYTES=262144
$(B)/simt/kernels/cuda/attention_hopper.o: private SIMT_FLAGS += -DNEAR_BYTES=150000
$(B)/simt/kernels/cuda/%.o: kernels/cuda/%.cu $(B)/simt/flags
	@mkdir -p $(@D)
	@echo $(CXX) $<
	@$(CXX) $(SIMT_FLAGS) -x c++ -c -o $@ $<

$(B)/simt/kernels/%.o: kernels/%.c $(B)/flags
	@mkdir -p $(@D)
	@$(CC) $(ALL_CFLAGS) -DBAM_HAS_CUDA -c -o $@ $<

# The program with the op tests and this device. Its objects come before the archive, whose own
# backends are then not wanted: BAMLUA_TEST_DEVICE=cuda sh tests/cases/run.sh build/simt/bamlua
$(B)/simt/bamlua: $(CASES_OBJ) $(SIMT_OBJ) $(B)/libbam.a
	@echo link $@
	@$(CXX) -Wl,-E -o $@ $^ $(ALL_LIBS)

# The program with the device that only counts memory (tests/dry).
$(B)/dry/bamlua: $(BIND_OBJ) $(B)/tests/dry/device.o $(B)/simt/kernels/backends.o $(B)/libbam.a
	@mkdir -p $(@D)
	@echo link $@
	@$(CC) -Wl,-E -o $@ $^ $(ALL_LIBS)

$(B)/simt/selftest: $(patsubst tests/simt/%.cu,$(B)/simt/%.o,$(wildcard tests/simt/*.cu)) \
                    $(filter-out $(B)/simt/cublaslt%,$(SHIM_OBJ)) $(addprefix $(B)/simt/kernels/cuda/,library.o pages.o lanes.o)
	@echo link $@
	@$(CXX) -o $@ $^ $(SANITIZE)

$(GPU_TESTS:%=$(B)/simt/gpu/%.o): $(B)/simt/gpu/%.o: tests/gpu/%.cu $(B)/simt/flags
	@mkdir -p $(@D)
	@echo $(CXX) $<
	@$(CXX) $(SIMT_FLAGS) -x c++ -c -o $@ $<

$(GPU_TESTS:%=$(B)/simt/%): $(B)/simt/%: $(B)/simt/gpu/%.o $(GPU_TEST_OBJ:%=$(B)/simt/%) \
                            $(filter-out $(B)/simt/cublaslt%,$(SHIM_OBJ)) $(B)/simt/kernels/cuda/library.o
	@echo link $@
	@$(CXX) -o $@ $^ $(SANITIZE)
