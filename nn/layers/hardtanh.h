/* What an exporter needs to know of a hardtanh. */
#pragma once

typedef struct HardtanhSpec {
    float min_val, max_val; /* min_val < max_val */
} HardtanhSpec;
