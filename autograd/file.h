/* Whole files in, whole files out.
 *
 * A file is read at once, into an arena, under a limit the caller names. A file is written beside
 * its place and moved there when every byte is on the disk: a reader sees the old file or the new
 * one, never half of one, whatever fails in between.
 *
 * Messages read `PATH: reason`. ERROR_IO: the path cannot be opened, read or written, or is no
 * regular file. ERROR_INPUT: the file is there, and larger than the limit. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "autograd/arena.h"
#include "autograd/error.h"

/* Reads the regular file `path` of at most `most` bytes: *data[*size], owned by the arena, with a
 * zero byte behind it that *size does not count. An empty file is content: *size is 0. Never waits
 * on a FIFO or device: those are refused, and folders, and a file whose size changes meanwhile. On
 * error the arena, *data and *size are as before. */
bool file_read(Arena *arena, const char *path, size_t most, unsigned char **data, size_t *size,
               Error *error);

/* A file on its way: DIR/.NAME.PID.tmp until it is committed. One thread at a time writes files. */
typedef struct FileWriter FileWriter;

/* Begins to replace (or make) `path`. A symbolic link stays and the file it leads to is replaced;
 * one that leads nowhere is refused, and so is whatever is not a regular file or may not be
 * written. The permissions of an existing file are kept, a new one gets 0666 less the umask. What
 * killed processes left of earlier saves of the same name is removed. NULL on error; otherwise ends
 * in exactly one of file_commit, file_abandon, file_abandon_all. */
FileWriter *file_create(const char *path, Error *error);

/* Appends data[size]. The first failure stays: later writes do nothing and file_commit tells of it.
 * False once something has failed, so that a long writer may stop early. */
bool file_write(FileWriter *writer, const void *data, size_t size);

/* Puts the file in its place, on the disk: fsync, close, rename, fsync of the folder. On error the
 * file that was there is untouched and the temporary is gone; only when the last step, the folder's
 * fsync, fails is the new file already in place. The writer is gone either way. */
bool file_commit(FileWriter *writer, Error *error);

/* The three steps at once, for data that lies in memory. */
bool file_save(const char *path, const void *data, size_t size, Error *error);

/* Removes the temporary and the writer; NULL is fine. */
void file_abandon(FileWriter *writer);

/* Abandons every writer still open: for a program that ends in the middle of a save. */
void file_abandon_all(void);

/* Can `path` be written? Begins a save and abandons it, so that a program fails before its long
 * work and not after. */
bool file_probe(const char *path, Error *error);

/* Do both paths, which may be NULL, lead to one file that exists? */
bool file_same(const char *a, const char *b);
