/* Learning-rate schedules: pure functions of the step's number. Nothing is remembered between
 * steps, so a run that was stopped and resumed sees the rates of one that was not.
 *
 * To add a schedule: its function and its row in optim/schedule.c. The command line finds it. */
#pragma once

#include <stdint.h>

typedef struct SchedulePlan {
    double base;             /* the learning rate at its highest */
    int64_t steps;           /* of the whole run; > 0 */
    int64_t steps_per_epoch; /* > 0 */
    int64_t warmup; /* first steps, in which the rate rises linearly to the schedule's; >= 0 */
    double final_fraction; /* cosine: ends at final_fraction * base */
    double gamma;          /* step: the rate is multiplied by gamma ... */
    int64_t step_size;     /* ... every step_size epochs; > 0 */
} SchedulePlan;

typedef struct Schedule {
    const char *name;
    double (*rate)(const SchedulePlan *plan, int64_t step); /* without warm-up */
} Schedule;

/* The rows, by name (NULL when there is none of that name) and by number (NULL past the last). */
const Schedule *schedule_find(const char *name);
const char *schedule_name(int index);

/* The learning rate of step 0 .. plan->steps-1; defined beyond, where cosine stays at its end. */
double schedule_rate(const Schedule *schedule, const SchedulePlan *plan, int64_t step);
