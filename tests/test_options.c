/* The command line: tables that fit together, every way to misuse an option, and the program's exit
 * codes where $STAIR names it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "nn/nearest.h"
#include "optim/schedule.h"
#include "train/command.h"

enum { MOST_WORDS = 16 };

static const OptionUse trial_options[] = {
    TAKES("epochs", .fallback = "3", .whole = true),
    TAKES("lr", .shown = "chosen later"),
    TAKES("output", .required = true, .unless = "resume"),
    TAKES("resume"),
    TAKES("seed"),
    TAKES("batch"),
    TAKES("data"),
    TAKES("schedule"),
    TAKES("per-tensor"),
    TAKES("per-channel"),
    TAKES_COMMON,
    {0},
};
static const Command trial = {
    .name = "trial", .arguments = "IN [MORE]", .least = 1, .most = 2, .options = trial_options};

/* Parses words that are parted by '|', empty ones too. They stay valid until the next call. */
static bool parse(const Command *command, const char *text, Settings *settings, Error *error) {
    static char copy[1024];
    static char *word[MOST_WORDS];
    int count = 0;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *rest = copy; rest;) {
        assert_true(count < MOST_WORDS);
        word[count++] = strsep(&rest, "|");
    }
    *error = (Error){0};
    return options_parse(command, count, word, settings, error);
}

static void expect_error(const char *words, const char *message) {
    Settings settings;
    Error error;
    assert_false(parse(&trial, words, &settings, &error));
    assert_int_equal(error.code, ERROR_USAGE);
    assert_string_equal(error.message, message);
}

static Settings expect_parsed(const char *words) {
    Settings settings;
    Error error;
    if (!parse(&trial, words, &settings, &error)) fail_msg("%s: %s", words, error.message);
    return settings;
}

static void test_defaults(void **state) {
    (void)state;
    Settings s = expect_parsed("in|-o|out");
    assert_true(s.epochs == 3 && s.lr == 0 && s.batch == 64 && s.seed == 0);
    assert_string_equal(s.schedule, "cosine");
    assert_string_equal(s.output, "out");
    assert_null(s.data);
    assert_true(settings_given(&s, "output"));
    assert_false(settings_given(&s, "epochs"));
    assert_int_equal(s.argument_count, 1);
    assert_string_equal(s.arguments[0], "in");
}

static void test_forms(void **state) {
    (void)state;
    Settings s = expect_parsed("--epochs=1|a|--output=x=y|--lr|1e-3|b|-q|--epochs|7");
    assert_true(s.epochs == 7); /* the last wins */
    assert_true(s.lr == 1e-3 && s.quiet && settings_given(&s, "epochs"));
    assert_string_equal(s.output, "x=y");
    assert_int_equal(s.argument_count, 2);
    assert_string_equal(s.arguments[0], "a");
    assert_string_equal(s.arguments[1], "b");

    s = expect_parsed("--resume|f|--|--epochs|-");
    assert_string_equal(s.arguments[0], "--epochs");
    assert_string_equal(s.arguments[1], "-");
    assert_true(expect_parsed("a|--resume=f|--data=--x").data[2] == 'x');
    assert_true(expect_parsed("a|--resume=f|--data|-").data[0] == '-');
    assert_true(expect_parsed("--epochs|1e1|--resume|f|a").epochs == 10);
    assert_true(expect_parsed("a|--resume|f|--batch|+8").batch == 8);
    assert_true(expect_parsed("a|--resume|f|--seed|9007199254740991").seed == 9007199254740991u);
    assert_true(expect_parsed("--help").help); /* though IN and -o are missing */
}

static void test_numbers(void **state) {
    (void)state;
    static const char *const not_epochs[] = {
        "12x", "nan",   "inf", "-inf", "-1",    "1,5", "2.5", "0x1", "1e99",    "",
        " 1",  "1e999", "1 ",  "--",   "1.2.3", "e",   "+",   ".",   "1000001", "1e"};
    for (size_t i = 0; i < sizeof not_epochs / sizeof *not_epochs; i++) {
        char words[64], message[160];
        snprintf(words, sizeof words, "in|--epochs=%s", not_epochs[i]);
        snprintf(message, sizeof message,
                 "--epochs takes a whole number from 0 to 1000000, not \"%s\"", not_epochs[i]);
        expect_error(words, message);
    }
    expect_error("in|--lr|1e31", "--lr takes a number from 0 to 1e+30, not \"1e31\"");
    expect_error("in|--lr|-1", "--lr takes a number from 0 to 1e+30, not \"-1\"");
    expect_error("in|--lr|-inf", "--lr takes a number from 0 to 1e+30, not \"-inf\"");
    static const char *const not_batch[] = {"0",
                                            "65537",
                                            "-1",
                                            "4294967297",
                                            "1.0",
                                            "1e2",
                                            "18446744073709551617",
                                            "-18446744073709551615",
                                            "a"};
    for (size_t i = 0; i < sizeof not_batch / sizeof *not_batch; i++) {
        char words[64], message[160];
        snprintf(words, sizeof words, "in|--batch|%s", not_batch[i]);
        snprintf(message, sizeof message,
                 "--batch takes a whole number from 1 to 65536, not \"%s\"", not_batch[i]);
        expect_error(words, message);
    }
    expect_error("in|--seed|-1",
                 "--seed takes a whole number from 0 to 9007199254740991, not \"-1\"");
    expect_error("in|--seed|9007199254740992",
                 "--seed takes a whole number from 0 to 9007199254740991, not "
                 "\"9007199254740992\"");
}

static void test_misuse(void **state) {
    (void)state;
    expect_error("in|--epohcs|3", "unknown option --epohcs; did you mean --epochs?");
    expect_error("in|--epoch=3", "unknown option --epoch=3; did you mean --epochs?");
    expect_error("in|--zzz", "unknown option --zzz; 'stair help trial' lists those there are");
    expect_error("in|-x", "unknown option -x; 'stair help trial' lists those there are");
    expect_error("in|--=3", "unknown option --=3; 'stair help trial' lists those there are");
    expect_error("in|--compare", "--compare belongs to calibrate; trial does not take it");
    expect_error("in|--epochs", "--epochs needs a value: a whole number from 0 to 1000000");
    expect_error("in|--data|--epochs|3", "--data needs a value: a non-empty text");
    expect_error("in|--data|-o|x", "--data needs a value: a non-empty text");
    expect_error("in|--data=", "--data takes a non-empty text, not \"\"");
    expect_error("in|--data|", "--data takes a non-empty text, not \"\"");
    expect_error("in|--quiet=1", "--quiet takes no value");
    expect_error("in|--schedule|cos", "--schedule takes cosine, step or constant, not \"cos\"");
    expect_error("in|-o|x|--per-channel|--per-tensor", "--per-tensor contradicts --per-channel");
    expect_error("in", "trial needs --output OUT");
    expect_error("-o|x", "trial needs IN [MORE]");
    expect_error("-o|x|", "argument 1 is empty");
    expect_error("-o|x|a|b|c", "unexpected argument \"c\"; usage: stair trial IN [MORE]");
}

static void test_tables(void **state) {
    (void)state;
    char takes[256];
    for (int i = 0; i < option_count; i++) {
        const Option *option = &option_list[i];
        assert_ptr_equal(option_find(option->name), option);
        assert_true(option->help && *option->help);
        assert_true(!option->against || option_find(option->against));
        const Option *needed = option->needs ? option_find(option->needs) : NULL;
        assert_int_equal(option->needs != NULL, needed != NULL);
        if (option->needs_value) { /* a word that it takes; it has one without being given */
            Settings settings = {0};
            Error error = {0};
            assert_true(needed->choice && needed->fallback);
            assert_true(option_read(needed, NULL, option->needs_value, &settings, &error));
        }
        assert_int_equal(option->argument != NULL,
                         strcmp(option_takes(option, NULL, takes, sizeof takes), "no value") != 0);
        int users = 0;
        for (int c = 0; command_list[c]; c++)
            users += command_takes(command_list[c], option->name) != NULL;
        if (!users) fail_msg("no command takes --%s", option->name);
        for (int j = 0; j < i; j++)
            assert_false(option->letter && option->letter == option_list[j].letter);
    }
    for (int i = 0; schedule_name(i); i++) assert_non_null(schedule_find(schedule_name(i)));
}

static void test_commands(void **state) {
    (void)state;
    for (int c = 0; command_list[c]; c++) {
        const Command *command = command_list[c];
        assert_ptr_equal(command_find(command->name), command);
        assert_true(*command->summary && command->run && command->least <= command->most);
        assert_int_equal(*command->arguments != '\0', command->most > 0);
        for (const OptionUse *use = command->options; use->name; use++) {
            const Option *option = option_find(use->name);
            if (!option) fail_msg("%s takes --%s, which is no option", command->name, use->name);
            assert_true(!use->unless || command_takes(command, use->unless));
            assert_true(!option->needs || command_takes(command, option->needs));
            assert_false(use->required && !option->argument);
            Settings settings = {0};
            Error error = {0};
            const char *text = option_default(option, use);
            if (text && !option_read(option, use, text, &settings, &error))
                fail_msg("%s: default: %s", command->name, error.message);
        }
        assert_non_null(command_takes(command, "help"));
    }
}

/* Every example of a command's help is a command line that its parser takes. */
static void test_examples(void **state) {
    (void)state;
    for (int c = 0; command_list[c]; c++) {
        const Command *command = command_list[c];
        char begin[64], words[256];
        int length = snprintf(begin, sizeof begin, "stair %s ", command->name);
        for (const char *line = command->examples; *line; line += strcspn(line, "\n") + 1) {
            assert_memory_equal(line, begin, (size_t)length);
            snprintf(words, sizeof words, "%.*s", (int)strcspn(line, "\n") - length, line + length);
            for (char *space; (space = strchr(words, ' '));) *space = '|';
            Settings settings;
            Error error;
            if (!parse(command, words, &settings, &error)) fail_msg("%s: %s", words, error.message);
        }
    }
}

static void test_nearest(void **state) {
    (void)state;
    static const char *const names[] = {"epochs", "lr", "log", "momentum"};
    static const struct {
        const char *typed, *meant;
    } trials[] = {{"epohcs", "epochs"}, {"lrr", "lr"},   {"Log", "log"}, {"momemtun", "momentum"},
                  {"x", NULL},          {"batch", NULL}, {"", NULL}};
    for (size_t t = 0; t < sizeof trials / sizeof *trials; t++) {
        Nearest nearest = nearest_to(trials[t].typed, strlen(trials[t].typed));
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) nearest_try(&nearest, names[i]);
        if (trials[t].meant)
            assert_string_equal(nearest.best, trials[t].meant);
        else
            assert_null(nearest.best);
    }
    char longest[100];
    memset(longest, 'e', sizeof longest);
    Nearest nearest = nearest_to(longest, sizeof longest);
    nearest_try(&nearest, "epochs");
    assert_null(nearest.best);
}

/* Runs the program; its standard output (or, with 2>&1 >/dev/null, its errors) in text. */
static int run_program(const char *arguments, char *text, size_t size) {
    char line[512];
    snprintf(line, sizeof line, "\"$STAIR\" %s", arguments);
    FILE *pipe = popen(line, "r");
    assert_non_null(pipe);
    size_t used = fread(text, 1, size - 1, pipe);
    text[used] = '\0';
    int status = pclose(pipe);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_program(void **state) {
    (void)state;
    char text[16384], other[16384];
    if (!getenv("STAIR")) skip();
    assert_int_equal(run_program("2>&1 >/dev/null", text, sizeof text), 2);
    assert_non_null(strstr(text, "usage: stair"));
    assert_int_equal(run_program("2>/dev/null", text, sizeof text), 2);
    assert_string_equal(text, "");
    assert_int_equal(run_program("--version 2>&1", text, sizeof text), 0);
    assert_memory_equal(text, "stair " STAIR_VERSION "\n", strlen("stair " STAIR_VERSION "\n"));
    assert_int_equal(run_program("--help", text, sizeof text), 0);
    for (int c = 0; command_list[c]; c++) {
        char line[64];
        assert_non_null(strstr(text, command_list[c]->summary));
        snprintf(line, sizeof line, "help %s", command_list[c]->name);
        assert_int_equal(run_program(line, other, sizeof other), 0);
        snprintf(line, sizeof line, "%s --help", command_list[c]->name);
        char again[16384];
        assert_int_equal(run_program(line, again, sizeof again), 0);
        assert_string_equal(other, again);
        for (const OptionUse *use = command_list[c]->options; use->name; use++)
            assert_non_null(strstr(other, use->name));
    }
    assert_int_equal(run_program("trian 2>&1", text, sizeof text), 2);
    assert_string_equal(text, "stair: no command \"trian\"; did you mean train?\n");
    assert_int_equal(run_program("help zzzzzz 2>&1", text, sizeof text), 2);
    assert_int_equal(run_program("--json eval 2>&1", text, sizeof text), 2);
    assert_int_equal(run_program("eval \"$(printf 'a\\033[1mb')\" 2 2>&1", text, sizeof text), 2);
    assert_null(strchr(text, '\033'));
    assert_int_equal(run_program("--help >/dev/full 2>/dev/null", text, sizeof text), 1);
    assert_int_equal(run_program("--help >&- 2>&- <&-", text, sizeof text), 0);
    assert_int_equal(run_program("freeze \"$STAIR\" -o \"$STAIR\" 2>&1", text, sizeof text), 2);
    assert_non_null(strstr(text, "is input and output"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_forms),
        cmocka_unit_test(test_numbers),  cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_tables),   cmocka_unit_test(test_commands),
        cmocka_unit_test(test_examples), cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_program),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
