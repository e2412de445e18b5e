# stair. `make demo` and `make test` are all anyone needs: each installs what is missing, then works.
#
#   make            the program, build/stair            make test        all tests
#   make demo       the whole way on Fashion-MNIST      make test-fast   the tests that take no training
#   make test-interop  exported models under other compilers, tools and emulators
#   make asan       the tests under ASan and UBSan      make tsan        those of threads under TSan
#   make arrows     no folder includes upward           make bench       speed of training and inference
#   make clean

BUILD  ?= build
CC     := gcc
DIRS   := autograd autograd/ops autograd/cells autograd/kernels nn nn/layers optim datasets \
          quant quant/config quant/methods quant/rules quant/ptq quant/int8 quant/kernels \
          quant/export quant/export/c quant/import quant/onnx

CFLAGS   ?= -O3 -g
CPPFLAGS += -I. -I$(BUILD) -I/usr/include/stb -D_GNU_SOURCE -MMD -MP
# No result may depend on the compiler's liberties: no contraction, no fast-math. The last two change no value either
# (nobody reads the floating-point status flags or errno); they let comparisons and roundings become vectors.
EXACT    := -ffp-contract=off -fno-trapping-math -fno-math-errno
STRICT   := -std=c11 -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wvla \
            -Wpointer-arith -Wwrite-strings -Werror -pthread $(EXACT)
LDLIBS   := -lopenblas -ljansson -lprotobuf-c -lz -lm -pthread

LIB_SRC   := $(wildcard $(addsuffix /*.c,$(DIRS)))
TRAIN_SRC := $(wildcard train/*.c)
TEST_SRC  := $(wildcard tests/test_*.c)
# messages of the ONNX format: C made from quant/onnx/onnx.proto, included as "quant/onnx/onnx.pb-c.h"
PROTO     := $(BUILD)/quant/onnx/onnx.pb-c
LIB_OBJ   := $(LIB_SRC:%.c=$(BUILD)/%.o) $(PROTO).o
TRAIN_OBJ := $(TRAIN_SRC:%.c=$(BUILD)/%.o)
# what the tests link besides the library: the program without its main, and their own helpers
TEST_OBJ  := $(filter-out $(BUILD)/train/main.o,$(TRAIN_OBJ)) \
             $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(TEST_SRC),$(wildcard tests/*.c)))
# layers that the library does not have: in a program of their own, before the tests that loop over lists
CUSTOM_OBJ := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/custom/*.c))
TESTS     := $(TEST_SRC:%.c=$(BUILD)/%) $(addprefix $(BUILD)/tests/custom_,layers rules)
# these run the whole program: test-fast leaves them out
SLOW      := $(addprefix $(BUILD)/tests/test_,pipeline resume docs cli inputs qat_program sweep sensitivity custom patterns workflow \
               explain dynamic_program)

SUBMAKE = $(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))

.PHONY: all deps demo test test-fast test-interop asan tsan arrows bench clean help
.SECONDARY:
all: deps
	+@$(SUBMAKE) $(BUILD)/stair

$(BUILD)/stair: $(TRAIN_OBJ) $(BUILD)/libstair.a
$(BUILD)/tests/custom/stair: $(TRAIN_OBJ) $(CUSTOM_OBJ) $(BUILD)/libstair.a
$(BUILD)/stair $(BUILD)/tests/custom/stair:
	@echo '  link $@'
	@$(CC) $(LDFLAGS) $^ $(LDLIBS) -o $@

$(BUILD)/libstair.a: $(LIB_OBJ)
	@rm -f $@
	@ar rcs $@ $^

$(BUILD)/%.o: %.c Makefile | $(PROTO).h
	@mkdir -p $(@D)
	@echo '  cc   $<'
	@$(CC) $(CPPFLAGS) $(STRICT) $(CFLAGS) $(EXTRA) -c $< -o $@

$(PROTO).c $(PROTO).h &: quant/onnx/onnx.proto
	@mkdir -p $(@D)
	@echo '  protoc-c $<'
	@protoc-c --c_out=$(BUILD) $<

# its warnings are nobody's to mend
$(PROTO).o: $(PROTO).c Makefile
	@echo '  cc   $<'
	@$(CC) $(CPPFLAGS) -std=c11 -w $(CFLAGS) -c $< -o $@

# The pieces of exported C are files of their own; the program carries them as strings.
RUNTIME := $(sort $(wildcard quant/export/c/runtime/*.c))
$(BUILD)/quant/export/c/runtime.inc: $(RUNTIME) Makefile
	@mkdir -p $(@D)
	@for f in $(RUNTIME); do echo "PIECE($$(basename $$f .c),"; \
	  sed 's/[\"]/\\&/g; s/.*/"&\\n"/' $$f; echo ')'; done > $@
$(BUILD)/quant/export/c/writer.o: $(BUILD)/quant/export/c/runtime.inc

# one file per instruction set, chosen at run time: only these may use its instructions
$(BUILD)/%_avx2.o: EXTRA := -mavx2 -mfma
$(BUILD)/%_vnni.o: EXTRA := -mavx2 -mavx512vl -mavx512vnni

# rows of planes are short: a call of memcpy for each takes longer than copying
$(BUILD)/autograd/kernels/conv_direct.o: EXTRA := -fno-tree-loop-distribute-patterns

$(BUILD)/tests/test_%: $(BUILD)/tests/test_%.o $(TEST_OBJ) $(BUILD)/libstair.a
	@echo '  link $@'
	@$(CC) $(LDFLAGS) $^ -lcmocka $(LDLIBS) -o $@
$(BUILD)/tests/custom_%: $(BUILD)/tests/test_%.o $(CUSTOM_OBJ) $(TEST_OBJ) $(BUILD)/libstair.a
	@echo '  link $@'
	@$(CC) $(LDFLAGS) $^ -lcmocka $(LDLIBS) -o $@
$(BUILD)/tests/test_custom: | $(BUILD)/tests/custom/stair

test: deps
	+@$(SUBMAKE) run-tests

test-fast: deps
	+@$(SUBMAKE) run-tests TESTS='$(filter-out $(SLOW),$(TESTS))'

.PHONY: run-tests
run-tests: $(BUILD)/stair $(TESTS)
	@STAIR=$(BUILD)/stair tests/run.sh $(TESTS)

# Others' tools on what we export; each helper in tests/interop/ is a program that its scripts call.
INTEROP := $(patsubst %.c,$(BUILD)/%,$(filter-out tests/interop/c_main.c,$(wildcard tests/interop/*.c)))
test-interop: deps
	+@$(SUBMAKE) $(BUILD)/stair $(INTEROP)
	@tests/interop/run.sh $(BUILD)/stair $(BUILD)/tests/interop

$(BUILD)/tests/interop/%: $(BUILD)/tests/interop/%.o $(BUILD)/libstair.a
	@echo '  link $@'
	@$(CC) $(LDFLAGS) $^ $(LDLIBS) -o $@

# The sanitized build uses -O1: the compiler keeps every check, and the tests still end in minutes.
asan: deps
	+@$(SUBMAKE) run-tests BUILD=$(BUILD)/asan \
	  CFLAGS='-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all' \
	  LDFLAGS='-fsanitize=address,undefined'

# Data races: what runs loops on the pool. Some kernels place programs where the sanitizer cannot start.
RACES := parallel core ops convs tails recurrent optim fakequant dynamic engines
tsan: deps
	@mkdir -p $(BUILD)/tsan
	@echo 'int main(void) { return 0; }' | $(CC) -fsanitize=thread -x c - -o $(BUILD)/tsan/starts
	+@if $(BUILD)/tsan/starts; then \
	  $(SUBMAKE) run-tests BUILD=$(BUILD)/tsan TESTS='$(RACES:%=$(BUILD)/tsan/tests/test_%)' \
	    CFLAGS='-O1 -g -fsanitize=thread' LDFLAGS='-fsanitize=thread'; \
	else echo 'tsan: the sanitizer does not start here; skipped'; fi

arrows:
	@tests/arrows.sh

demo: deps
	+@$(SUBMAKE) -s $(BUILD)/stair
	@STAIR=$(BUILD)/stair train/demo.sh

bench: deps
	@tests/deps.sh python3
	+@$(SUBMAKE) $(BUILD)/stair $(BUILD)/bench/peaks
	@STAIR=$(BUILD)/stair PEAKS=$(BUILD)/bench/peaks ROUNDS=$(ROUNDS) ROWS='$(ROWS)' python3 bench/run.py

# what the processor can do at most: AVX2 alone
$(BUILD)/bench/peaks.o: EXTRA := -mavx2 -mfma
$(BUILD)/bench/peaks: $(BUILD)/bench/peaks.o
	@$(CC) $(LDFLAGS) $^ $(LDLIBS) -o $@

deps:
	@tests/deps.sh

clean:
	rm -rf $(BUILD)

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

-include $(sort $(LIB_OBJ:.o=.d) $(TRAIN_OBJ:.o=.d) $(TEST_OBJ:.o=.d) $(CUSTOM_OBJ:.o=.d) $(TEST_SRC:%.c=$(BUILD)/%.d))
