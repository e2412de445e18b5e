/* What this processor can do at most: the yardstick of the figures in RESULTS.md. Best of several
 * runs of each loop, in processor time, so that other work on the machine counts little:
 *
 *   fma           multiply-adds of floats in 12 registers of AVX2, as many as hide their latency
 *   madd          multiply-adds of 16-bit integers, vpmaddwd and vpaddd likewise
 *   vnni          multiply-adds of bytes, vpdpbusd of AVX-512 VNNI in registers of 256 bits; left
 *                 out where there is none
 *   sgemm         OpenBLAS on 1024 x 1024 matrices, in multiply-adds
 *   copy          bytes copied from one array of 64 MiB to another
 *
 * peaks            all of them, on one core
 * peaks THREADS    those in registers, by so many threads at once, added up: processors that share
 *                  a core, as those of a virtual machine may for a while, have one core's peak
 *
 * Prints one JSON object, in 10^9 a second. */
#include <cblas.h>
#include <immintrin.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { THREADS_MOST = 256, RUNS = 7, STEPS = 4000000, SIDE = 1024, COPY = 1 << 26 };

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#define TWELVE(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define DECLARE(i) register __m256i sum##i = _mm256_setzero_si256();
/* Assembly, because a compiler would see that nobody wants the sums. */
#define FMA(i) __asm__ volatile("vfmadd231ps %1, %1, %0" : "+x"(sum##i) : "x"(one));
#define MADD(i)                                                                                    \
    __asm__ volatile("vpmaddwd %1, %1, %%ymm15; vpaddd %%ymm15, %0, %0"                            \
                     : "+x"(sum##i)                                                                \
                     : "x"(one)                                                                    \
                     : "xmm15");

static double fma_steps(void) {
    __m256 one = _mm256_set1_ps(0.5f);
    TWELVE(DECLARE)
    for (int i = 0; i < STEPS; i++) {
        TWELVE(FMA)
    }
    return 12.0 * 8 * STEPS;
}

static double madd_steps(void) {
    __m256i one = _mm256_set1_epi16(1);
    TWELVE(DECLARE)
    for (int i = 0; i < STEPS; i++) {
        TWELVE(MADD)
    }
    return 12.0 * 16 * STEPS;
}

#define VNNI(i) __asm__ volatile("vpdpbusd %1, %1, %0" : "+x"(sum##i) : "x"(one));

static double vnni_steps(void) {
    __m256i one = _mm256_set1_epi8(1);
    TWELVE(DECLARE)
    for (int i = 0; i < STEPS; i++) {
        TWELVE(VNNI)
    }
    return 12.0 * 32 * STEPS;
}

static float *matrix[3];
static char *array[2];

static double sgemm_steps(void) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, SIDE, SIDE, SIDE, 1, matrix[0], SIDE,
                matrix[1], SIDE, 0, matrix[2], SIDE);
    return (double)SIDE * SIDE * SIDE;
}

static double copy_steps(void) {
    memcpy(array[1], array[0], COPY);
    return COPY;
}

/* The threads take each run together. */
static struct {
    int threads;
    double (*steps)(void);
    double rate[THREADS_MOST];
    pthread_barrier_t barrier;
} team;

static void run_once(int number) {
    pthread_barrier_wait(&team.barrier);
    double start = seconds(), done = team.steps();
    team.rate[number] = done / (seconds() - start) * 1e-9;
    pthread_barrier_wait(&team.barrier);
}

static void *run_all(void *rate) {
    for (int run = 0; run < RUNS; run++) run_once((int)((double *)rate - team.rate));
    return NULL;
}

static double best(double steps(void)) {
    pthread_t thread[THREADS_MOST];
    double most = 0;
    team.steps = steps;
    for (int i = 1; i < team.threads; i++)
        if (pthread_create(&thread[i], NULL, run_all, &team.rate[i])) exit(1);
    for (int run = 0; run < RUNS; run++) {
        run_once(0);
        double all = 0;
        for (int i = 0; i < team.threads; i++) all += team.rate[i];
        if (all > most) most = all;
    }
    for (int i = 1; i < team.threads; i++) pthread_join(thread[i], NULL);
    return most;
}

static void print_registers(void) {
    printf("{\"fma\": %.1f, \"madd\": %.1f", best(fma_steps), best(madd_steps));
    if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vl"))
        printf(", \"vnni\": %.1f", best(vnni_steps));
}

static bool print_memory(void) {
    openblas_set_num_threads(1);
    for (int i = 0; i < 3; i++) {
        matrix[i] = malloc(sizeof(float) * SIDE * SIDE);
        if (!matrix[i]) return false;
        for (int j = 0; j < SIDE * SIDE; j++) matrix[i][j] = (float)(j % 7);
    }
    for (int i = 0; i < 2; i++) {
        array[i] = malloc(COPY);
        if (!array[i]) return false;
        memset(array[i], i, COPY);
    }
    printf(", \"sgemm\": %.1f, \"copy\": %.1f", best(sgemm_steps), best(copy_steps));
    return true;
}

int main(int count, char **arguments) {
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
        fputs("peaks: this processor has no AVX2\n", stderr);
        return 1;
    }
    team.threads = count > 1 ? atoi(arguments[1]) : 1;
    if (team.threads < 1 || team.threads > THREADS_MOST) {
        fprintf(stderr, "peaks: 1 to %d threads\n", THREADS_MOST);
        return 2;
    }
    pthread_barrier_init(&team.barrier, NULL, (unsigned)team.threads);
    print_registers();
    if (count == 1 && !print_memory()) return 1;
    puts("}");
    return 0;
}
