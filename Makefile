# bamlua: `make help` lists what there is. A fresh clone needs only make, gcc and git; `make deps` brings the rest.

# ---- settings ----
B       ?= build
CC      ?= gcc
CFLAGS  ?= -O3 -g
PREFIX  ?= /usr/local
DESTDIR ?=
# The CUDA backend, on when its compiler is here and it has sources.
CUDA    ?= $(if $(and $(shell command -v nvcc 2>/dev/null),$(wildcard kernels/cuda/*.cu)),1,0)

# Debian 12 packages: what the program is built with, then what its tests use.
PACKAGES_BUILD := gcc libc6-dev make pkg-config liblua5.4-dev libopenblas-openmp-dev libjansson-dev libedit-dev
PACKAGES_TEST  := lua5.4 libcriterion-dev valgrind

WARNINGS := -Wall -Wextra -Wshadow -Wconversion
BLAS_DIR  = $(shell pkg-config --variable=libdir openblas 2>/dev/null)
BLAS_LIB  = $(firstword $(wildcard /usr/lib/*/openblas-openmp/libopenblas.a))
BLAS_INC  = $(firstword $(wildcard /usr/include/*/openblas-openmp))
PKG_CFLAGS = $(shell pkg-config --cflags lua5.4 jansson libedit 2>/dev/null) -isystem $(BLAS_INC)
PKG_LIBS   = $(shell pkg-config --libs lua5.4 jansson libedit 2>/dev/null) $(BLAS_LIB)
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE $(WARNINGS) -fopenmp -fno-math-errno -fno-trapping-math -MMD -MP $(PKG_CFLAGS) \
             $(CFLAGS) $(SANITIZE)
ALL_LIBS   = $(PKG_LIBS) -fopenmp -lm -ldl $(SANITIZE)

# ---- sources ----
ENGINE_C := $(wildcard engine/*.c engine/ops/*.c)
BIND_C   := $(wildcard lua/bind/*.c)
LUA_SRC  := $(sort $(wildcard lua/bam/*.lua lua/bam/*/*.lua))
CPU_C    := $(wildcard kernels/cpu/*.c)
# Kernel files for floating point only; the others are compiled for every dtype that computes.
CPU_ANY  := $(filter $(addprefix kernels/cpu/,copy.c arithmetic.c compare.c reduce.c index.c sort.c table.c),$(CPU_C))
CPU_ONCE := $(filter $(addprefix kernels/cpu/,device.c convert.c),$(CPU_C))
CPU_REAL := $(filter-out $(CPU_ANY) $(CPU_ONCE),$(CPU_C))

ISAS          := baseline avx2 avx512
FLAGS_avx2    := -march=haswell
FLAGS_avx512  := -march=skylake-avx512 -mprefer-vector-width=512
# Attention is made of products, which fuse multiply and add. Elsewhere every instruction set rounds alike.
FLAGS_attention := -ffp-contract=fast
TYPES_REAL    := f32 f64
TYPES_INTEGER := i32 i64 u8 b8

# One object per kernel file, instruction set and dtype; integers make do with the baseline.
kernel_objects = $(foreach s,$(3),$(patsubst kernels/cpu/%.c,$(B)/kernels/cpu/%.$(1).$(2).o,$(s)))
KERNEL_OBJ := $(foreach i,$(ISAS),$(foreach t,$(TYPES_REAL),$(call kernel_objects,$(i),$(t),$(CPU_ANY) $(CPU_REAL)))) \
              $(foreach t,$(TYPES_INTEGER),$(call kernel_objects,baseline,$(t),$(CPU_ANY)))
ENGINE_OBJ := $(patsubst %.c,$(B)/%.o,$(ENGINE_C) $(CPU_ONCE)) $(KERNEL_OBJ)
BIND_OBJ   := $(patsubst %.c,$(B)/%.o,$(BIND_C)) $(B)/embedded.o

# ---- the program ----
.DEFAULT_GOAL := all
.PHONY: all
all: $(B)/bamlua ## build the program

$(B)/bamlua: $(BIND_OBJ) $(B)/libbam.a
	$(CC) -Wl,-E -o $@ $(BIND_OBJ) $(B)/libbam.a $(ALL_LIBS)

$(B)/libbam.a: $(ENGINE_OBJ)
	@rm -f $@
	@$(AR) rcs $@ $^

$(B)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

define kernel_rule
$(B)/kernels/cpu/%.$(1).$(2).o: kernels/cpu/%.c Makefile
	@mkdir -p $$(@D)
	@echo $(CC) kernels/cpu/$$*.c for $(1) $(2)
	@$(CC) $(ALL_CFLAGS) $(FLAGS_$(1)) $$(FLAGS_$$*) -DBAM_ISA=$(1) -DBAM_TYPE=$(2) -DBAM_TYPE_$(2) -c -o $$@ $$<
endef
$(foreach i,$(ISAS),$(foreach t,$(TYPES_REAL) $(TYPES_INTEGER),$(eval $(call kernel_rule,$(i),$(t)))))

$(B)/embedded.S: lua/bind/embed.sh $(LUA_SRC)
	@mkdir -p $(@D)
	sh lua/bind/embed.sh $@ $(LUA_SRC)

$(B)/embedded.o: $(B)/embedded.S
	$(CC) -c -o $@ $<

-include $(shell find $(B) -name '*.d' 2>/dev/null)
