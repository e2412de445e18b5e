/* t: the step's number, from 0. With W warm-up steps, every schedule is multiplied by
 * min(1, (t + 1) / W): the first step runs at base / W, step W - 1 at the full rate. */
#include "optim/schedule.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "autograd/error.h"

static const double PI = 3.14159265358979323846;

static double constant_rate(const SchedulePlan *plan, int64_t step) {
    (void)step;
    return plan->base;
}

/* base gamma^floor(epoch / step_size): PyTorch's StepLR. */
static double step_rate(const SchedulePlan *plan, int64_t step) {
    int64_t epoch = step / plan->steps_per_epoch;
    return plan->base * pow(plan->gamma, (double)(epoch / plan->step_size));
}

/* Half a cosine from base, at the end of the warm-up, to low = final_fraction base, at the end of
 * the run: low + (base - low) (1 + cos(pi u)) / 2 (Loshchilov, Hutter 2017, without restarts). */
static double cosine_rate(const SchedulePlan *plan, int64_t step) {
    int64_t length = plan->steps - plan->warmup, t = step - plan->warmup;
    double u = length <= 0 ? 0 : (double)t / (double)length;
    u = fmin(fmax(u, 0), 1);
    double low = plan->final_fraction * plan->base;
    return low + (plan->base - low) * (1 + cos(PI * u)) / 2;
}

static const Schedule list[] = {
    {.name = "cosine", .rate = cosine_rate},
    {.name = "step", .rate = step_rate},
    {.name = "constant", .rate = constant_rate},
};
enum { SCHEDULES = sizeof list / sizeof *list };

const Schedule *schedule_find(const char *name) {
    for (int i = 0; i < SCHEDULES; i++)
        if (strcmp(list[i].name, name) == 0) return &list[i];
    return NULL;
}

const char *schedule_name(int index) {
    return index >= 0 && index < SCHEDULES ? list[index].name : NULL;
}

double schedule_rate(const Schedule *schedule, const SchedulePlan *plan, int64_t step) {
    CHECK(plan->steps > 0 && plan->steps_per_epoch > 0 && plan->step_size > 0 && plan->warmup >= 0,
          "schedule %s of %lld steps, %lld an epoch, step size %lld, warm-up %lld", schedule->name,
          (long long)plan->steps, (long long)plan->steps_per_epoch, (long long)plan->step_size,
          (long long)plan->warmup);
    CHECK(step >= 0, "step %lld", (long long)step);
    double rate = schedule->rate(plan, step);
    if (step + 1 < plan->warmup) rate *= (double)(step + 1) / (double)plan->warmup;
    return rate;
}
