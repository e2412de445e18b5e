/* The program's start: makes the surroundings safe, then hands over to the command line. The locale
 * stays C (nothing calls setlocale), so numbers are read and written with a point. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "autograd/arena.h"
#include "autograd/file.h"
#include "train/command.h"

/* A closed 0, 1 or 2 would become the number of the next file opened, and messages would land in a
 * checkpoint. open gives the lowest free number: the closed one. */
static bool hold_descriptors(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) == -1 && errno == EBADF && open("/dev/null", O_RDWR) != fd)
            return false;
    return true;
}

/* May be called on any thread, with no memory to be had: no stdio, no exit handlers. */
static _Noreturn void out_of_memory(size_t bytes) {
    char text[80];
    int length = snprintf(text, sizeof text, "stair: out of memory (%zu bytes asked)\n", bytes);
    ssize_t written = write(STDERR_FILENO, text, (size_t)length);
    (void)written;
    file_abandon_all();
    _exit(ERROR_IO);
}

int main(int argc, char *argv[]) {
    if (!hold_descriptors()) return ERROR_IO;
    signal(SIGXFSZ, SIG_IGN); /* a file-size limit is then a write error like any other */
    arena_exhausted = out_of_memory;
    return argc > 1 ? command_line(argc - 1, argv + 1) : command_line(0, NULL);
}
