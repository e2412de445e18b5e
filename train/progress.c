/* Speed and time left are means over the whole run: images / seconds, and
 * seconds * (steps - step) / (step - first_step). */
#include "train/progress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "train/text.h"

static const double REDRAW_INTERVAL = 0.1; /* seconds */
enum { USUAL_WIDTH = 80, LONGEST = 256 /* columns */ };

double clock_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* no-color.org: set and not empty. The line has no colours, but who sets it wants plain text. */
static bool plain_wanted(void) {
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    return (no_color && *no_color) || !term || !strcmp(term, "dumb");
}

Progress progress_start(FILE *file, bool quiet, int64_t first_step) {
    return (Progress){
        .file = quiet ? NULL : file,
        .redraws = isatty(fileno(file)) && !plain_wanted(),
        .first_step = first_step,
        .started = clock_seconds(),
        .drawn = -INFINITY,
    };
}

static void append_duration(char *text, size_t size, double seconds) {
    if (!(seconds < 360000)) return; /* above 100 hours a guess means nothing */
    int s = (int)seconds;
    if (s >= 3600)
        text_append(text, size, "  %d:%02d:%02d left", s / 3600, s / 60 % 60, s % 60);
    else
        text_append(text, size, "  %d:%02d left", s / 60, s % 60);
}

void progress_text(char *text, size_t size, const ProgressPoint *point, int64_t first_step,
                   double seconds) {
    *text = '\0';
    text_append(text, size, "epoch %d/%d  step %lld/%lld", point->epoch, point->epochs,
                (long long)point->step, (long long)point->steps);
    if (!isnan(point->loss)) text_append(text, size, "  loss %.4f", point->loss);
    if (!isnan(point->accuracy))
        text_append(text, size, "  accuracy %.2f%%", 100 * point->accuracy);
    if (!isnan(point->test_accuracy))
        text_append(text, size, "  test %.2f%%", 100 * point->test_accuracy);
    if (!(seconds > 0)) return;
    text_append(text, size, "  %.0f images/s", (double)point->images / seconds);
    int64_t done = point->step - first_step, left = point->steps - point->step;
    if (done > 0 && left > 0) append_duration(text, size, seconds * (double)left / (double)done);
}

/* One column less than there are: a full line makes some terminals begin a new one. */
static int terminal_width(FILE *file) {
    struct winsize window;
    int columns = USUAL_WIDTH;
    if (ioctl(fileno(file), TIOCGWINSZ, &window) == 0 && window.ws_col > 0) columns = window.ws_col;
    return columns - 1 < LONGEST - 1 ? columns - 1 : LONGEST - 1;
}

/* Overwrites the line on the terminal; what is left of a longer one is covered with blanks. */
static void draw(Progress *progress, const char *text, double now) {
    int most = terminal_width(progress->file), width = (int)strlen(text);
    if (width > most) width = most;
    int blanks = (progress->width < most ? progress->width : most) - width;
    fprintf(progress->file, "\r%.*s%*s", width, text, blanks > 0 ? blanks : 0, "");
    fflush(progress->file);
    progress->width = width;
    progress->drawn = now;
}

void progress_step(Progress *progress, const ProgressPoint *point) {
    if (!progress->file || !progress->redraws) return;
    double now = clock_seconds();
    if (now - progress->drawn < REDRAW_INTERVAL) return;
    char text[LONGEST];
    progress_text(text, sizeof text, point, progress->first_step, now - progress->started);
    draw(progress, text, now);
}

void progress_epoch(Progress *progress, const ProgressPoint *point) {
    if (!progress->file) return;
    double now = clock_seconds();
    char text[LONGEST];
    progress_text(text, sizeof text, point, progress->first_step, now - progress->started);
    if (progress->redraws) {
        draw(progress, text, now);
    } else {
        fprintf(progress->file, "%s\n", text);
        fflush(progress->file);
    }
}

void progress_finish(Progress *progress) {
    if (progress->file && progress->width > 0) fprintf(progress->file, "\n");
    progress->width = 0;
}
