#include "train/signals.h"

#include <signal.h>
#include <stddef.h>
#include <time.h>

/* `timeout -s INT` and some shells send one stop twice, to the process and to its group: only a
 * SIGINT that comes this much later is a second wish. */
static const double SECOND_WISH = 0.2; /* seconds */

static volatile sig_atomic_t caught;
static struct timespec caught_at; /* written before `caught`, by the handler alone */

static double seconds_since(const struct timespec *then) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - then->tv_sec) + 1e-9 * (double)(now.tv_nsec - then->tv_nsec);
}

/* Only calls that are allowed in a handler. While it runs the other two signals wait. */
static void note(int number) {
    if (!caught) {
        clock_gettime(CLOCK_MONOTONIC, &caught_at);
        caught = number;
    } else if (number == SIGINT && seconds_since(&caught_at) > SECOND_WISH) {
        signal(SIGINT, SIG_DFL);
        raise(SIGINT); /* delivered when this handler returns */
    }
}

void signals_catch(void) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    enum { COUNT = sizeof numbers / sizeof *numbers };
    struct sigaction action = {.sa_handler = note, .sa_flags = SA_RESTART}, before;
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < COUNT; i++) sigaddset(&action.sa_mask, numbers[i]);
    for (int i = 0; i < COUNT; i++) {
        sigaction(numbers[i], NULL, &before);
        if (numbers[i] == SIGHUP && before.sa_handler == SIG_IGN) continue;
        sigaction(numbers[i], &action, NULL);
    }
}

int signals_caught(void) {
    return caught;
}
