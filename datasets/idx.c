/* IDX, the format of MNIST and its relatives: big-endian, plain or gzip.
 *
 *     0  0  type  rank      type 0x08: unsigned bytes, the only one read here
 *     dim[0] .. dim[rank-1] 32 bits each; images are N H W, labels are N
 *     payload               product of the dimensions, last index fastest
 *
 * Nothing is believed for being in a header: the payload is read as it arrives, to exactly the
 * number of bytes declared, and there the file must end. */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "datasets/format.h"
#include "datasets/stream.h"

enum { IMAGE_RANK = 3, LABEL_RANK = 1, TYPE_UBYTE = 0x08 };

enum { IMAGES, LABELS }; /* slots of Search.path */

/* The pair of files in one folder; their names are joined by a dash or a dot, with .gz or not. */
static bool found_in(Search *search, const char *folder) {
    const char *split = search->train ? "train" : "t10k";
    static const char *const endings[2][4] = {
        [IMAGES] = {"images-idx3-ubyte", "images-idx3-ubyte.gz", "images.idx3-ubyte",
                    "images.idx3-ubyte.gz"},
        [LABELS] = {"labels-idx1-ubyte", "labels-idx1-ubyte.gz", "labels.idx1-ubyte",
                    "labels.idx1-ubyte.gz"},
    };
    int i = 0;
    while (i < 4 && !search_for(search, IMAGES, "%s%s-%s", folder, split, endings[IMAGES][i])) i++;
    if (i == 4) return false;
    /* images without labels: the path of their most likely name is kept, and cannot be opened */
    for (int k = 0; k < 4; k++)
        if (search_for(search, LABELS, "%s%s-%s", folder, split, endings[LABELS][k])) return true;
    search_for(search, LABELS, "%s%s-%s", folder, split, endings[LABELS][i]);
    return true;
}

static bool idx_found(Search *search) {
    return found_in(search, "") || found_in(search, "MNIST/raw/") ||
           found_in(search, "FashionMNIST/raw/");
}

/* One file while it is read. */
typedef struct Idx {
    const char *path;
    Stream *stream;
    int dim[IMAGE_RANK];
    size_t header, bytes; /* length of the header and of the payload */
    uint8_t *payload;     /* [bytes] */
} Idx;

static const char *type_name(int type) {
    switch (type) {
    case 0x09: return "signed bytes";
    case 0x0B: return "16-bit integers";
    case 0x0C: return "32-bit integers";
    case 0x0D: return "32-bit floats";
    case 0x0E: return "64-bit floats";
    default: return "no known type";
    }
}

static bool check_magic(const Idx *idx, const uint8_t magic[4], int rank, Error *error) {
    if (magic[0] == 0x1f && magic[1] == 0x8b)
        return error_set(error, ERROR_INPUT,
                         "%s: is compressed twice, expected IDX data inside gzip", idx->path);
    if (magic[0] != 0 || magic[1] != 0)
        return error_set(error, ERROR_INPUT,
                         "%s: is not an IDX file (offset 0): expected bytes 00 00, got %02x %02x",
                         idx->path, magic[0], magic[1]);
    if (magic[2] != TYPE_UBYTE)
        return error_set(error, ERROR_INPUT,
                         "%s: wrong element type (offset 2): expected 0x08, unsigned bytes, got "
                         "0x%02x, %s",
                         idx->path, magic[2], type_name(magic[2]));
    if (magic[3] == rank) return true;
    const char *what = magic[3] == IMAGE_RANK   ? ", which is a file of images"
                       : magic[3] == LABEL_RANK ? ", which is a file of labels"
                                                : "";
    return error_set(error, ERROR_INPUT,
                     "%s: wrong number of dimensions (offset 3): expected %d, %s, got %d%s",
                     idx->path, rank, rank == IMAGE_RANK ? "images" : "labels", magic[3], what);
}

static bool read_header(Idx *idx, int rank, Error *error) {
    uint8_t magic[4];
    uint32_t dims[IMAGE_RANK];
    size_t got_magic, got_dims = 0, dims_bytes = (size_t)rank * sizeof *dims;
    if (!stream_read(idx->stream, magic, sizeof magic, &got_magic, error)) return false;
    if (got_magic == sizeof magic) {
        if (!check_magic(idx, magic, rank, error)) return false;
        if (!stream_read(idx->stream, dims, dims_bytes, &got_dims, error)) return false;
    }
    idx->header = sizeof magic + dims_bytes;
    if (got_dims < dims_bytes)
        return error_set(error, ERROR_INPUT,
                         "%s: ends inside its header (offset %zu), expected %zu bytes of it",
                         idx->path, got_magic + got_dims, idx->header);
    idx->bytes = 1;
    for (int i = 0; i < rank; i++) {
        uint32_t dim = be32toh(dims[i]);
        if (dim == 0)
            return error_set(error, ERROR_INPUT, "%s: dimension %d is 0 (offset %zu)", idx->path, i,
                             sizeof magic + (size_t)i * sizeof dim);
        if (__builtin_mul_overflow(idx->bytes, dim, &idx->bytes) || idx->bytes > DATASET_MAX_BYTES)
            return error_set(
                error, ERROR_INPUT,
                "%s: its dimensions declare too many bytes (offset 4), expected at most "
                "%zu",
                idx->path, DATASET_MAX_BYTES);
        idx->dim[i] = (int)dim;
    }
    return true;
}

static bool wrong_payload(const Idx *idx, const char *what, uint64_t got, Error *error) {
    return error_set(error, ERROR_INPUT,
                     "%s: %s (offset %zu): its header declares %zu bytes of data, got %llu%s",
                     idx->path, what, idx->header, idx->bytes, (unsigned long long)got,
                     got > idx->bytes ? " or more" : "");
}

static bool read_payload(Idx *idx, Error *error) {
    uint64_t size = stream_size(idx->stream);
    if (size && size - idx->header < idx->bytes)
        return wrong_payload(idx, "is too short", size - idx->header, error);
    size_t got, extra;
    if (!stream_take(idx->stream, idx->bytes, &idx->payload, &got, error)) return false;
    if (got < idx->bytes) return wrong_payload(idx, "is too short", got, error);
    uint8_t next;
    if (!stream_read(idx->stream, &next, 1, &extra, error)) return false;
    return extra == 0 || wrong_payload(idx, "is too long", (uint64_t)idx->bytes + 1, error);
}

/* The payload becomes the caller's, also on failure: free. */
static bool idx_open(Idx *idx, const char *path, int rank, Error *error) {
    *idx = (Idx){.path = path, .stream = stream_open(path, error)};
    bool ok = idx->stream && read_header(idx, rank, error) && read_payload(idx, error);
    stream_close(idx->stream);
    return ok;
}

/* 10, as in MNIST and its relatives, even where the files hold fewer; else as many as the labels
 * need. */
static int class_count(const uint8_t *labels, int count) {
    int classes = 10;
    for (int i = 0; i < count; i++)
        if (labels[i] >= classes) classes = labels[i] + 1;
    return classes;
}

static bool idx_read(const Search *search, Dataset *dataset, Error *error) {
    Idx images, labels = {0};
    bool ok = idx_open(&images, search->path[IMAGES], IMAGE_RANK, error) &&
              idx_open(&labels, search->path[LABELS], LABEL_RANK, error);
    dataset->pixels = images.payload;
    dataset->labels = labels.payload;
    if (!ok) return false;
    if (images.dim[0] != labels.dim[0])
        return error_set(error, ERROR_INPUT,
                         "%s: has %d labels (offset 4), expected %d, the number of images in %s",
                         labels.path, labels.dim[0], images.dim[0], images.path);
    dataset->count = images.dim[0];
    dataset->channels = 1;
    dataset->height = images.dim[1];
    dataset->width = images.dim[2];
    dataset->classes = class_count(dataset->labels, dataset->count);
    return true;
}

const DatasetFormat idx_format = {.name = "IDX", .found = idx_found, .read = idx_read};
