/* Progress of a long run: one line, redrawn, on a terminal; a plain line for each epoch elsewhere
 * (also with NO_COLOR or TERM=dumb); nothing when quiet. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>
#include <stdio.h>

/* Where a run stands. */
typedef struct ProgressPoint {
    int epoch, epochs;    /* 1 .. epochs */
    int64_t step, steps;  /* done, of all */
    int64_t images;       /* seen since progress_start */
    double loss;          /* NaN: not known yet, and left out */
    double accuracy;      /* 0..1; NaN likewise */
    double test_accuracy; /* 0..1; NaN: not measured, and left out */
} ProgressPoint;

typedef struct Progress {
    FILE *file; /* NULL: quiet */
    bool redraws;
    int64_t first_step;
    double started, drawn; /* clock_seconds */
    int width;             /* columns of the line on the terminal, 0: none */
} Progress;

/* Seconds of the monotonic clock: for durations, whatever happens to the time of day. */
double clock_seconds(void);

/* Starts the clock of a run that stands at step `first_step` (not 0 after a resume); `file` is
 * stderr for the program, and stays the caller's. */
Progress progress_start(FILE *file, bool quiet, int64_t first_step);

/* After each step: redraws the line, at most ten times a second. */
void progress_step(Progress *progress, const ProgressPoint *point);

/* After each epoch: redraws the line at once, or prints a plain one. */
void progress_epoch(Progress *progress, const ProgressPoint *point);

/* Ends the line on the terminal, so that other text may follow; progress_step may begin another. */
void progress_finish(Progress *progress);

/* The text of a line; `seconds` have passed since step first_step. Cut to size. */
void progress_text(char *text, size_t size, const ProgressPoint *point, int64_t first_step,
                   double seconds);
