# bamlua: `make help` lists the commands. A fresh clone needs only make; every command installs the Debian
# packages it needs before it begins, or prints the apt-get line where it may not install them.

# ---- settings, each may be given on the command line ----
B       ?= build
CFLAGS  ?= -O3 -g
# WERROR=-Werror makes warnings errors, as the checks of .ci/run do.
WERROR  ?=
PREFIX  ?= /usr/local
DESTDIR ?=
SECONDS ?= 600
# Of the faults of make faults, every how manieth is tried, from which on (0 to EVERY - 1: so several
# processes share the work); and a file from which a stopped one goes on.
EVERY   ?= 1
FIRST   ?= 0
STATE   ?=
# Only the tests whose name matches: make test FILTER='matmul/*'
FILTER  ?=
# The CUDA backend, on when its compiler is here: make CUDA=0 leaves it out.
CUDA    ?= $(if $(shell command -v nvcc 2>/dev/null),1,0)
# The devices it is compiled for; the first also as PTX, which newer ones compile for themselves.
CUDA_ARCH ?= 80 90a

# Debian 12 packages: to build the program, and the text that the demo trains on.
BUILD_PACKAGES := gcc libc6-dev make pkg-config liblua5.4-dev libopenblas-openmp-dev libedit-dev libpcre2-dev zlib1g-dev \
                  libzstd-dev libxxhash-dev $(if $(filter 1,$(CUDA)),g++)
TEXT_PACKAGES  := bible-kjv bible-kjv-text jargon-text debian-policy doc-debian miscfiles libsoftware-license-perl \
                  base-files metamath-databases libpython3-stdlib
# What each target `deps` or `deps-NAME` installs. Tests need what running needs, and more.
deps_packages          := $(BUILD_PACKAGES) $(TEXT_PACKAGES)
deps-test_packages     := $(deps_packages) libcriterion-dev lua5.4
deps-simt_packages     := $(deps_packages) g++
deps-valgrind_packages := $(deps-test_packages) valgrind
deps-analyze_packages  := $(BUILD_PACKAGES) cppcheck
deps-lint_packages     := lua-check
deps-format_packages   := clang-format

WARNINGS := -Wall -Wextra -Wshadow -Wconversion
# OpenBLAS and what reads text are linked statically: the program starts faster, and moves between machines.
BLAS_LIB   := $(firstword $(wildcard /usr/lib/*/openblas-openmp/libopenblas.a))
BLAS_INC   := $(firstword $(wildcard /usr/include/*/openblas-openmp))
PKG_CFLAGS := $(shell pkg-config --cflags lua5.4 libedit 2>/dev/null) $(addprefix -isystem ,$(BLAS_INC))
PKG_LIBS   := $(shell pkg-config --libs lua5.4 libedit 2>/dev/null) $(BLAS_LIB) \
              $(foreach l,pcre2-8 zstd z,$(shell $(CC) -print-file-name=lib$(l).a))
ALL_CFLAGS := -std=c11 -D_GNU_SOURCE $(WARNINGS) $(WERROR) -fopenmp -fno-math-errno -fno-trapping-math -MMD -MP \
              $(PKG_CFLAGS) $(CFLAGS) $(SANITIZE)
# For a program that is carried to another machine: nothing but glibc is asked for there.
CARRIED    := $(foreach l,lua5.4 edit tinfo bsd md,$(shell $(CC) -print-file-name=lib$(l).a))
# libgomp too: only then can the program choose how its threads wait (kernels/cpu/device.c).
# CUDA's runtime is linked in; cuBLASLt and the driver are opened when first used.
CUDA_HOME  ?= $(patsubst %/bin/nvcc,%,$(realpath $(shell command -v nvcc 2>/dev/null)))
CUDART     := $(firstword $(wildcard $(CUDA_HOME)/lib64/libcudart_static.a $(CUDA_HOME)/targets/*/lib/libcudart_static.a \
                                     $(CUDA_HOME)/lib/libcudart_static.a))
CUDA_LIBS  := $(if $(filter 1,$(CUDA)),$(CUDART) -lrt)
ALL_LIBS   := $(PKG_LIBS) $(CUDA_LIBS) $(shell $(CC) -print-file-name=libgomp.a) -lpthread -lm -ldl $(SANITIZE)

# ---- sources ----
ENGINE_C := $(wildcard engine/*/*.c engine/ops/support/*.c kernels/*.c)
BIND_C   := $(wildcard lua/host/*.c lua/bind/*.c)
LUA_SRC  := $(sort $(wildcard lua/bam/*.lua lua/bam/*/*.lua lua/bam/*/*/*.lua))
CPU_C    := $(wildcard kernels/cpu/*.c)
# Kernel files for floating point only; the others are compiled for every dtype that computes.
CPU_ANY  := $(filter $(addprefix kernels/cpu/,copy.c arithmetic.c compare.c reduce.c index.c sort.c table.c),$(CPU_C))
CPU_ONCE := $(filter $(addprefix kernels/cpu/,device.c features.c convert.c),$(CPU_C))
CPU_REAL := $(filter-out $(CPU_ANY) $(CPU_ONCE),$(CPU_C))

ISAS          ?= baseline avx2 avx512
FLAGS_avx2    := -march=haswell
FLAGS_avx512  := -march=skylake-avx512 -mprefer-vector-width=512
ISA_FLAGS     := $(FLAGS_avx2) $(FLAGS_avx512) $(ISAS)
# Attention is made of products, which fuse multiply and add. Elsewhere every instruction set rounds alike.
FLAGS_attention := -ffp-contract=fast
FLAGS_peak      := -ffp-contract=fast
TYPES_REAL    := f32 f64
TYPES_INTEGER := i32 i64 u8 b8

# One object per kernel file, instruction set and dtype; integers make do with the baseline.
kernel_objects = $(foreach s,$(3),$(patsubst kernels/cpu/%.c,$(B)/kernels/cpu/%.$(1).$(2).o,$(s)))
KERNEL_OBJ := $(foreach i,$(ISAS),$(foreach t,$(TYPES_REAL),$(call kernel_objects,$(i),$(t),$(CPU_ANY) $(CPU_REAL)))) \
              $(foreach t,$(TYPES_INTEGER),$(call kernel_objects,baseline,$(t),$(CPU_ANY)))
# CUDA files mirror them. $(1) is the folder of the objects.
CUDA_C       := $(wildcard kernels/cuda/*.cu) kernels/cuda/table.c
CUDA_ONCE    := $(filter $(addprefix kernels/cuda/,device.cu stream.cu convert.cu scatter.cu blas.cu),$(CUDA_C))
CUDA_ANY     := $(filter $(patsubst kernels/cpu/%.c,kernels/cuda/%.cu,$(CPU_ANY)) kernels/cuda/table.c,$(CUDA_C))
CUDA_REAL    := $(filter-out $(CUDA_ANY) $(CUDA_ONCE),$(CUDA_C))
cuda_typed    = $(foreach s,$(3),$(1)/$(basename $(s)).$(2).o)
cuda_objects  = $(patsubst %.cu,$(1)/%.o,$(CUDA_ONCE)) \
                $(foreach t,$(TYPES_REAL),$(call cuda_typed,$(1),$(t),$(CUDA_ANY) $(CUDA_REAL))) \
                $(foreach t,$(TYPES_INTEGER),$(call cuda_typed,$(1),$(t),$(CUDA_ANY)))
CUDA_OBJ     := $(if $(filter 1,$(CUDA)),$(call cuda_objects,$(B)))
ENGINE_OBJ := $(patsubst %.c,$(B)/%.o,$(ENGINE_C) $(CPU_ONCE)) $(KERNEL_OBJ) $(CUDA_OBJ)
BIND_OBJ   := $(patsubst %.c,$(B)/%.o,$(BIND_C)) $(B)/embedded.o
TEST_OBJ   := $(patsubst %.c,$(B)/%.o,$(wildcard tests/engine/*.c))
# The op tests again, with a driver of their own in place of Criterion, for other devices (tests/cases).
CASES_NOT  := scratch $(addprefix test_,files lua_memory npy safetensors scripts signals vmath)
CASES_C    := $(wildcard tests/cases/*.c) $(filter-out $(CASES_NOT:%=tests/engine/%.c),$(wildcard tests/engine/*.c))
CASES_WRONG := $(patsubst %,$(B)/cases/tests/%.o,cases/selftest/wrong cases/driver engine/fixture engine/value_tests)
CASES_OBJ  := $(patsubst %.c,$(B)/cases/%.o,$(CASES_C)) $(filter-out %/main.o,$(BIND_OBJ))
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

# Written anew when compiler or flags change, so that everything is then compiled again.
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

# Nothing of C++'s run-time library is asked for.
NVCC_FLAGS := -std=c++17 -O3 -compress-mode=size -MMD -MP $(if $(WERROR),-Werror all-warnings) \
              -Xcompiler -Wall,-Wextra,-fno-exceptions,-fno-threadsafe-statics \
              $(foreach a,$(CUDA_ARCH),-gencode arch=compute_$(a),code=sm_$(a)) \
              -gencode arch=compute_$(firstword $(CUDA_ARCH)),code=compute_$(firstword $(CUDA_ARCH))

# What makes kernels known to CUDA before main would make every start slower: it is put where kernels/cuda/device.cu
# finds it when a device is asked for.
LATE := objcopy --rename-section .init_array=bam_cuda_modules
# As $(B)/flags, for what depends on CUDA.
CUDA_LINE := $(CUDA) $(if $(filter 1,$(CUDA)),nvcc $(NVCC_FLAGS) $(LATE))
$(B)/cuda_flags: always
	@mkdir -p $(@D)
	@echo '$(CUDA_LINE)' | cmp -s - $@ || echo '$(CUDA_LINE)' > $@
$(B)/kernels/backends.o: $(B)/cuda_flags

$(B)/kernels/cuda/%.o: kernels/cuda/%.cu $(B)/cuda_flags
	@mkdir -p $(@D)
	@echo nvcc $<
	@nvcc $(NVCC_FLAGS) -c -o $@ $< && $(LATE) $@

define cuda_rule
$(B)/kernels/cuda/%.$(1).o: kernels/cuda/%.cu $(B)/cuda_flags
	@mkdir -p $$(@D)
	@echo nvcc $$< for $(1)
	@nvcc $$(NVCC_FLAGS) -DBAM_TYPE=$(1) -DBAM_TYPE_$(1) -c -o $$@ $$< && $(LATE) $$@
$(B)/kernels/cuda/%.$(1).o $(B)/simt/kernels/cuda/%.$(1).o: kernels/cuda/%.c $(B)/flags
	@mkdir -p $$(@D)
	@$(CC) $(ALL_CFLAGS) -DBAM_TYPE=$(1) -DBAM_TYPE_$(1) -c -o $$@ $$<
endef
$(foreach t,$(TYPES_REAL) $(TYPES_INTEGER),$(eval $(call cuda_rule,$(t))))

$(B)/embedded.S: lua/host/embed.sh $(LUA_SRC)
	@mkdir -p $(@D)
	@sh lua/host/embed.sh $@ $(LUA_SRC)

$(B)/embedded.o: $(B)/embedded.S
	@$(CC) -c -o $@ $<

-include $(shell find $(B) -name '*.d' 2>/dev/null)

# ---- commands ----
# They install what is missing first. What pkg-config says is read when make starts, so the work itself is
# done by another make, on all cores unless -j says otherwise.
REMAKE = $(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))
DEPS   := deps $(addprefix deps-,test simt valgrind analyze lint format)

.PHONY: run test docs cases simt bench accuracy asan analyze lint lint-format format compdb debug valgrind fuzz fuzzcheck faults \
        $(DEPS) install clean help
run: deps ## branch, train, mix and compare small models on text of this machine
	@$(REMAKE) all
	$(B)/bamlua recipes/bam_kv_shared.lua

test: deps-test ## build and run all tests; FILTER='matmul/*' picks some
	@$(REMAKE) $(B)/bamlua $(B)/test_engine
	@sh tests/run.sh plain $(B) '$(FILTER)'

cases: deps ## the tests of the ops alone, with the program that tests/gpu carries
	@$(REMAKE) $(B)/cases/bamlua $(B)/cases/selftest
	@sh tests/cases/selftest/check.sh $(B)/cases/selftest
	@sh tests/cases/run.sh $(B)/cases/bamlua $(if $(FILTER),--filter '$(FILTER)')

simt: deps-simt ## the CUDA backend on the CPU: every test of an op and a recipe, over the shim of tests/simt
	@$(REMAKE) $(B)/simt/selftest $(B)/simt/bamlua
	@sh tests/simt/run.sh $(B) '$(FILTER)'

bench: deps ## measure speed, beside PyTorch where there is one
	@$(REMAKE) all
	$(B)/bamlua tests/bench/bench.lua

docs: deps ## write docs/api, the reference of functions and classes, from the sources
	@$(REMAKE) all
	$(B)/bamlua docs docs/api

accuracy: deps ## compare the errors of f32, op by op, with PyTorch's (BAMLUA_PEER_PYTHON names a Python that has it)
	@$(REMAKE) all
	$(B)/bamlua tests/accuracy/accuracy.lua

ASAN := B=build-asan CUDA=0 ISAS=baseline CFLAGS='-O1 -g -fno-omit-frame-pointer' \
        SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=all'
asan: deps-test ## all tests under AddressSanitizer and UBSan, and proof that those see faults
	@$(REMAKE) $(ASAN) build-asan/bamlua build-asan/test_engine build-asan/test_faults
	@sh tests/run.sh asan build-asan '$(FILTER)'

debug: deps ## build build-debug/bamlua, which checks its invariants (engine/core/assert.h)
	@$(REMAKE) B=build-debug CUDA=0 CFLAGS='-O1 -g -DBAM_DEBUG' build-debug/bamlua

analyze: deps-analyze ## gcc -fanalyzer and cppcheck over the engine and its border with Lua
	@sh tests/analyze/run.sh '-std=c11 -D_GNU_SOURCE -fopenmp $(PKG_CFLAGS)'

valgrind: deps-valgrind ## every op, and the Lua state, under valgrind, and proof that it sees faults
	@$(REMAKE) $(B)/bamlua $(B)/test_engine $(B)/test_faults
	@sh tests/run.sh valgrind $(B) '$(FILTER)'

# Clang's libFuzzer, where there is one: it sees what an input reaches.
LIBFUZZER = $(firstword $(wildcard $(shell clang -print-resource-dir 2>/dev/null)/lib/linux/libclang_rt.fuzzer-x86_64.a))
FUZZERS = $(addprefix build-asan/,fuzz_files fuzz_border fuzz_parsers $(if $(LIBFUZZER),fuzz_parsers_clang))
fuzz: deps ## random calls of everything, and damaged files for all parsers, for SECONDS
	@$(REMAKE) $(ASAN) $(FUZZERS)
	@CLANG=$(if $(LIBFUZZER),1) sh tests/fuzz/run.sh build-asan $(SECONDS)

fuzzcheck: deps ## a fixed number of those, the same each time, and proof that they find faults
	@$(REMAKE) $(ASAN) $(FUZZERS)
	@CLANG=$(if $(LIBFUZZER),1) sh tests/fuzz/run.sh build-asan sample

faults: deps ## a small run while calls of the system fail, after power cuts, with damaged files; hours, or EVERY=300 for a sample
	@$(REMAKE) $(B)/bamlua $(addprefix $(B)/faults/,inject record)
	@sh tests/faults/run.sh $(B) --every $(EVERY) --first $(FIRST) $(if $(STATE),--state '$(STATE)')

lint: deps-lint ## luacheck over everything written in Lua
	@sh tests/lint/run.sh lua

lint-format: deps-format ## check that C and CUDA are laid out as .clang-format says
	@sh tests/lint/run.sh format

format: deps-format ## lay C and CUDA out as .clang-format says
	@find engine kernels lua tests -name '*.[ch]' -o -name '*.cu' -o -name '*.cpp' | xargs clang-format -i

# The compiler's own command lines, as make would run them; nothing is built.
compdb: ## write compile_commands.json, for clangd and other tools
	@{ echo '['; $(MAKE) -nB --no-print-directory $(addprefix $(B)/,bamlua test_engine test_faults fuzz_files fuzz_border fuzz_parsers) | \
	  sed -n -e 's/ && .*//' -e '/^echo /d' -e 's/[\\"]/\\&/g' \
	    -e 's|^.* -c -o \([^ ]*\) \([^ ]*\)$$|  {"directory": "$(CURDIR)", "file": "\2", "output": "\1", "command": "&"},|p' | \
	  sed '$$s/,$$//'; echo ']'; } > compile_commands.json

# Install what is missing of $(1). Without apt-get the build is tried all the same: other systems have other names.
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
deps: ## install the Debian packages that building and running need (deps-test and the like: what other commands need)
$(DEPS):
	$(call install_missing,$($@_packages))

install: all ## install the program below PREFIX (and DESTDIR)
	install -D -m 755 $(B)/bamlua $(DESTDIR)$(PREFIX)/bin/bamlua
	install -D -m 644 docs/api/bam.d.lua $(DESTDIR)$(PREFIX)/share/bamlua/bam.d.lua

clean: ## remove what was built
	rm -rf build build-*

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /\1 /p' Makefile | while read -r name text; do printf '  make %-11s %s\n' "$$name" "$$text"; done

# ---- test programs ----
$(B)/cases/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	@echo $(CC) $< for --op-cases
	@$(CC) -Itests/cases $(ALL_CFLAGS) -c -o $@ $<

$(B)/cases/bamlua: $(CASES_OBJ) $(B)/libbam.a
	@echo link $@
	@$(CC) -s -Wl,-E -o $@ $^ $(filter-out -l%,$(PKG_LIBS)) $(CARRIED) $(filter-out $(PKG_LIBS),$(ALL_LIBS))

$(B)/test_engine: $(TEST_OBJ) $(filter-out %/main.o,$(BIND_OBJ)) $(B)/libbam.a
	@echo link $@
	@$(CC) -o $@ $^ -lcriterion $(ALL_LIBS)

$(B)/cases/selftest: $(CASES_WRONG) $(B)/libbam.a
	@echo link $@
	@$(CC) -o $@ $^ $(ALL_LIBS)

$(B)/faults/%: tests/faults/%.c tests/faults/trace.c tests/faults/trace.h $(B)/flags
	@mkdir -p $(@D)
	@echo $(CC) $<
	@$(CC) $(filter-out -Wconversion -MMD -MP,$(ALL_CFLAGS)) -o $@ $(filter %.c,$^)

# Faults on purpose, which the sanitizers must report.
$(B)/test_faults: $(FAULTS_OBJ) $(B)/libbam.a
	@echo link $@
	@$(CC) -o $@ $^ -lcriterion $(ALL_LIBS)

$(B)/fuzz_files: $(FUZZ_OBJ) $(B)/libbam.a
	@echo link $@
	@$(CC) -o $@ $^ $(ALL_LIBS)

$(B)/fuzz_parsers: $(PARSER_OBJ) $(B)/libbam.a
	@echo link $@
	@$(CC) -Wl,-E -o $@ $^ $(ALL_LIBS)

# libFuzzer counts the branches of what clang compiles: the engine less what knows OpenMP, and the border. These objects
# come before the archive, whose own are then not wanted.
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

# ---- the SIMT shim ----
# CUDA's kernels as C++, run on the CPU (tests/simt): one object per kernel file and dtype.
SIMT_CFLAGS ?= -O2 -g
SIMT_FLAGS  := $(addprefix -isystem ,$(BLAS_INC)) -std=c++17 -Wall -Wextra -Wshadow $(WERROR) -fno-math-errno -fno-trapping-math -MMD -MP \
               -Itests/simt $(SIMT_CFLAGS) $(SANITIZE)
SHIM_OBJ    := $(patsubst tests/simt/%.cpp,$(B)/simt/%.o,$(wildcard tests/simt/*.cpp))
SIMT_OBJ    := $(filter-out %/cuda/blas.o,$(call cuda_objects,$(B)/simt)) $(SHIM_OBJ) $(B)/simt/kernels/backends.o

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
$(foreach t,$(TYPES_REAL) $(TYPES_INTEGER),$(eval $(call simt_rule,$(t))))

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

$(B)/simt/selftest: $(patsubst tests/simt/%.cu,$(B)/simt/%.o,$(wildcard tests/simt/*.cu)) $(filter-out %/blas.o,$(SHIM_OBJ))
	@echo link $@
	@$(CXX) -o $@ $^ $(SANITIZE)
